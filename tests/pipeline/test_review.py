"""The review: what is accepted is trained on and never tested on, and what cannot be used is refused before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from made_traces import trace
from ragtune import Project, cli
from ragtune.dataset.store import read_dataset
from ragtune.errors import ProjectError, QuestionError
from ragtune.pipeline import review as reviewing
from ragtune.types import Example, Message
from tiny_project import THINGS, builder, fact, write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

FREE = THINGS[4:]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Path:
    """A project with a dataset; each document holds four facts that no question is about."""
    root = tmp_path_factory.mktemp("review")
    sources = write_sources(root / "sources", places=12, facts=8)
    asked = [json.loads(line) for line in sources.questions.read_text().splitlines()]
    kept = [each for each in asked if not each["id"].endswith(FREE)]
    sources.questions.write_text("".join(json.dumps(each) + "\n" for each in kept))
    project = Project(write_project(root / "project", sources, tiny_chat, tiny_embedder))
    project.ingest()
    project.dataset(name="before")
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Project:
    shutil.copytree(made, tmp_path / "copy")
    toml = tmp_path / "copy" / "project" / "ragtune.toml"
    toml.write_text(toml.read_text().replace(str(made), str(tmp_path / "copy")))
    return Project(tmp_path / "copy" / "project")


def shown(document: str, text: str = "", headings: str = "") -> dict[str, object]:
    where = {"number": 1, "document": document, "title": "", "headings": headings}
    return {**where, "text": text, "start": 0, "end": 1, "page": None, "score": 1.0}


def queued(project: Project, question: str, document: str = "calder.md", **changes: object) -> str:
    """A question that was answered badly."""
    passage = shown(document)
    project.traces.record(trace(question=question, abstained=True, passages=(passage,), **changes))
    return next(item.id for item in project.review().items if item.question == question)


def held_out(project: Project) -> tuple[str, str]:
    """Place and thing of a section that is held out for the test; the sections of ``FREE`` are asked about nowhere."""
    data = read_dataset(project.workspace.artifact("datasets", "before"))
    place, _, thing = next(each.id for each in data.test if each.stratum == "new_documents" and each.evidence).partition("-")
    return place.title(), thing


def accept(project: Project, place: str, thing: str, by_offsets: bool = False) -> str:
    item = queued(project, f"Whose work is the {thing} of {place}?")
    document = f"{place.lower()}.md"
    text = (project.path.parent / "sources" / "documents" / document).read_text()
    start = text.index(fact(place, thing))
    marked = (
        {"document": document, "start": start, "end": start + len(fact(place, thing))}
        if by_offsets
        else {"text": fact(place, thing), "document": document}
    )
    done = project.decide(item, "accept", [builder(place, thing)], [marked], by="ada")
    assert done.warnings == ()
    assert done.item.state == "accepted"
    return str(done.question)


def by_id(examples: list[Example]) -> dict[str, Example]:
    return {each.id: each for each in examples}


def test_accepted_questions_are_learnt_from_and_leave_the_test_as_it_was(project: Project) -> None:
    learnt = [accept(project, "Calder", thing, by_offsets) for thing, by_offsets in zip(FREE, (True, False, True, False), strict=True)]
    validating = accept(project, *held_out(project))
    item = queued(project, "Who sank ship number 12?", history=(Message("user", "Is there a ship?"), Message("assistant", "Yes.")))
    nothing = str(project.decide(item, "accept").question)
    made = project.dataset(name="after")
    assert made.figures["reviewed"] == {"train": 5, "validation": 1}
    before, after = (read_dataset(project.workspace.artifact("datasets", name)) for name in ("before", "after"))
    assert {*learnt, nothing} == by_id(after.train).keys() - by_id(before.train).keys()
    assert {validating} == by_id(after.validation).keys() - by_id(before.validation).keys()
    files = [project.workspace.artifact("datasets", name) / "test.jsonl" for name in ("before", "after")]
    assert files[0].read_bytes() == files[1].read_bytes()
    taught = by_id(after.train)[learnt[0]]
    assert taught.evidence[0].text == fact("Calder", FREE[0])
    assert taught.completion.endswith(builder("Calder", FREE[0]))
    assert [turn.content for turn in by_id(after.train)[nothing].history] == ["Is there a ship?", "Yes."]


def test_the_file_is_one_that_people_can_edit(project: Project) -> None:
    id_ = accept(project, "Calder", FREE[0])
    path = project.path / "questions" / "reviewed.jsonl"
    (entry,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert entry["id"] == id_
    assert entry["answers"] == [builder("Calder", FREE[0])]
    assert entry["evidence"][0]["text"] == fact("Calder", FREE[0])
    assert "split" not in entry
    path.write_text(json.dumps({**entry, "split": "test"}) + "\n")
    with pytest.raises(QuestionError, match="leave out"):
        project.dataset()
    path.write_text(json.dumps(entry) + "\n")
    with pytest.raises(QuestionError, match="never tested on"):
        project.dataset(test=[path])


def test_a_test_question_in_these_or_nearly_these_words_is_refused(project: Project) -> None:
    data = read_dataset(project.workspace.artifact("datasets", "before"))
    locked = next(each for each in data.test if each.evidence)
    for question in (locked.question, locked.question.lower().replace("?", " then?")):
        item = queued(project, question)
        with pytest.raises(QuestionError, match=f"too much like the question {locked.id}, which is locked away for the test of before"):
            project.decide(
                item, "accept", list(locked.answers), [{"text": locked.evidence[0].text, "document": locked.evidence[0].document}]
            )
        project.decide(item, "dismiss", note="a test question")
    assert not (project.path / "questions" / "reviewed.jsonl").exists()
    assert project.review("dismissed").total == 2


def test_a_reviewed_question_that_becomes_like_a_test_question_is_left_out(project: Project) -> None:
    """Written into the file by hand, or tested on in a later dataset."""
    data = read_dataset(project.workspace.artifact("datasets", "before"))
    locked = next(each for each in data.test if each.evidence)
    entry = {"id": "sly", "question": locked.question, "answers": ["x"], "evidence": locked.evidence[0].text, "reviewed": "2026-01-01"}
    (project.path / "questions").mkdir(exist_ok=True)
    (project.path / "questions" / "reviewed.jsonl").write_text(json.dumps(entry) + "\n")
    made = project.dataset(name="after")
    assert made.figures["reviewed"] == {"train": 0, "validation": 0}
    assert any(each.source == "sly" and f"the test question {locked.id}" in each.reason for each in made.left_out)


@pytest.mark.parametrize(
    ("answers", "evidence", "message"),
    [
        (["x"], [], "no evidence is marked"),
        ([], [{"text": "x"}], "no answer is given"),
        (["x"], [{"text": "Nobody ever wrote this."}], "copy it verbatim"),
        (["x"], [{"text": "x", "document": "nowhere.md"}], "no ingested document is called nowhere.md"),
        (["x"], [{"document": "nowhere.md", "start": 0, "end": 1}], "no ingested document is called nowhere.md"),
        (["x"], [{"document": "calder.md", "start": 5, "end": 10**6}], "no place in calder.md"),
        (["x"], [{"document": "calder.md", "start": -5, "end": 3}], "no place in calder.md"),
        (["x"], [{"document": "calder.md"}], "one of these is missing"),
        (["call ▮▮▮"], [{"text": "x"}], "redacted"),
    ],
)
def test_what_cannot_be_used_is_refused_and_stays_open(project: Project, answers: list, evidence: list, message: str) -> None:
    item = queued(project, "Who ever?")
    with pytest.raises(QuestionError, match=message):
        project.decide(item, "accept", answers, evidence)
    assert project.review().open == 1
    assert not (project.path / "questions" / "reviewed.jsonl").exists()


def test_evidence_that_does_not_hold_the_answer_and_a_known_question_are_warned_of(project: Project) -> None:
    data = read_dataset(project.workspace.artifact("datasets", "before"))
    known = next(each for each in data.train if each.evidence)
    item = queued(project, known.question)
    done = project.decide(item, "accept", ["Somebody Else"], [{"text": known.evidence[0].text, "document": known.evidence[0].document}])
    assert len(done.warnings) == 2
    assert "asks the same" in done.warnings[1]


def test_what_was_redacted_of_what_was_said_before_is_not_learnt(project: Project) -> None:
    item = queued(project, "Who ever?", history=(Message("user", "Call ▮▮▮."), Message("assistant", "Yes.")))
    done = project.decide(item, "accept")
    assert "redacted" in done.warnings[0]
    written = (project.path / "questions" / "reviewed.jsonl").read_text(encoding="utf-8")
    assert "history" not in written
    assert "▮▮▮" not in written


def test_a_decision_that_was_killed_is_made_again_without_a_second_question(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reviewing.queue, "decide", killed)
        with pytest.raises(KeyboardInterrupt):
            accept(project, "Calder", FREE[0])
    item = project.review().items[0].id
    project.decide(item, "accept", [builder("Calder", FREE[0])], [{"text": fact("Calder", FREE[0]), "document": "calder.md"}])
    assert len((project.path / "questions" / "reviewed.jsonl").read_text().splitlines()) == 1
    with pytest.raises(ProjectError, match="was accepted on"):
        project.decide(item, "dismiss")
    with pytest.raises(ProjectError, match="nothing to review called"):
        project.decide("re-none", "dismiss")


def test_a_purge_finds_what_traces_hold_and_blanks_it(project: Project) -> None:
    text = (project.path.parent / "sources" / "documents" / "calder.md").read_text()
    sentence, name = fact("Calder", "mill"), builder("Calder", "mill")
    passage = shown("calder.md", text, "The mill of Calder")
    id_ = project.traces.record(trace(question="Who built the mill of Calder?", answer=name, raw=name, passages=(passage,), citations=()))
    project.traces.rate(id_, "down", reason=sentence, correction=sentence)
    listed = project.purge(["calder.md"], confirm=lambda _: False)
    assert any(each.path == ".ragtune/traces.db" and each.places > 3 for each in listed.held)
    done = project.purge(["calder.md"], redact=True)
    assert any(each.path == ".ragtune/traces.db" and each.redacted for each in done.held)
    data = b"".join(path.read_bytes() for path in project.workspace.folder.glob("traces.db*"))
    assert sentence.encode() not in data
    found = project.traces.find(id_)
    assert found.record.passages[0]["document"] == "calder.md", "what it is of may be said"
    assert sentence not in json.dumps(found.whole())
    assert project.review().open == 1


def test_what_only_traces_still_hold_can_be_purged(project: Project) -> None:
    passage = shown("old.md", "The vault of Quillmoor was sealed by Zephyra Brandt.")
    project.traces.record(trace(question="Who sealed it?", answer="Zephyra Brandt", passages=(passage,), citations=()))
    project.purge(["old.md"], redact=True)
    data = b"".join(path.read_bytes() for path in project.workspace.folder.glob("traces.db*"))
    assert b"Quillmoor" not in data
    assert b"Zephyra" not in data


def test_the_command_line_accepts_with_words_of_a_passage_that_was_found(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    item = queued(project, "Whose work is the well of Calder?", "calder.md")
    sentence, answer = fact("Calder", "well"), builder("Calder", "well")
    arguments = ["review", "accept", item, "--answer", answer, "--evidence", sentence, "--project", str(project.path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ragtune", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert stopped.value.code == 0
    assert "ragtune run" in capsys.readouterr().out
    assert sentence in (project.path / "questions" / "reviewed.jsonl").read_text()
