"""The whole product on a tiny project: everything once, nothing twice, and every figure traceable."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project, cli
from ragtune.config import Settings, changed_settings
from ragtune.corpus import Corpus
from ragtune.errors import ConfigError, ProjectError, QuestionError
from ragtune.pipeline.forecast import FEWEST, Rates, Sizes, forecast, measure_rates, parse_budget
from ragtune.pipeline.records import RunResult
from ragtune.protocols import CHECKPOINT
from ragtune.rag import Answer
from ragtune.types import CONTEXTS
from ragtune.workspace import Workspace, hash_file, write_json
from tiny_project import PLACES, THINGS, builder, fact, write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

STAGES = ("ingest", "index", "dataset", "train", "evaluate")


class Recorder:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[str] = []
        self.notes: list[str] = []

    def start(self, stage: str, total: float | None = None) -> None:
        self.started.append(stage)

    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None:
        assert stage in self.started
        assert stage != "train" or left is not None, "the trainer counts its time left in contexts, and knows best"

    def finish(self, stage: str, message: str) -> None:
        self.finished.append(stage)

    def note(self, message: str) -> None:
        self.notes.append(message)


def files(project: Path) -> dict[str, tuple[int, int]]:
    """Everything in a workspace except what every command writes, with time and size."""
    found = [path for path in (project / ".ragtune").rglob("*") if path.is_file()]
    passing = ("lock", ".gitignore", "corpus.db-wal", "corpus.db-shm", "generations.db-wal", "generations.db-shm")
    return {str(path.relative_to(project)): (path.stat().st_mtime_ns, path.stat().st_size) for path in found if path.name not in passing}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Rates are measured once for this file, and a developer's own are left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory, tiny_chat, tiny_embedder, cache) -> tuple[Path, RunResult, Recorder]:
    root = tmp_path_factory.mktemp("run")
    project = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
    recorder = Recorder()
    return project, Project(project, progress=recorder).run(), recorder


@pytest.fixture
def finished(first, tmp_path) -> Path:
    """A copy of the finished project, a test's own."""
    return shutil.copytree(first[0], tmp_path / "copy")


def test_a_run_makes_every_artifact_and_the_report(first):
    project, result, recorder = first
    assert list(dict.fromkeys(stage for stage in recorder.finished if stage in STAGES)) == list(STAGES)
    assert recorder.finished.index("rehearsal") < recorder.finished.index("train")
    assert result.model is not None
    assert result.evaluation is not None
    evaluation = Path(result.evaluation.folder)
    assert {path.name for path in evaluation.iterdir()} == {
        "manifest.json", "passages.jsonl", "predictions.jsonl", "report.html", "report.json",
    }  # fmt: skip
    assert {"adapter", "metrics.jsonl", "manifest.json"} <= {path.name for path in Path(result.model.folder).iterdir()}
    page = (evaluation / "report.html").read_text(encoding="utf-8")
    assert result.evaluation.report.sentence.split(":")[0][:40] in page
    assert not list(project.rglob("*.tmp"))


def test_predictions_hold_every_arm_in_every_context_with_what_was_shown(first):
    _, result, _ = first
    folder = Path(result.evaluation.folder)
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    passages = {each["id"]: each for each in map(json.loads, (folder / "passages.jsonl").read_text(encoding="utf-8").splitlines())}
    asked: dict[tuple[str, str], list[str]] = {}
    for each in predictions:
        asked.setdefault((each["arm"], each["context"]), []).append(each["id"])
    arms = {"base", "base-fewshot", "tuned"}
    assert set(asked) == {(arm, context) for arm in arms for context in CONTEXTS}
    for context in CONTEXTS:
        assert len({tuple(asked[arm, context]) for arm in arms}) == 1, "the arms of a context answer the same questions"
    assert len(asked["base", "closed-book"]) == 4
    assert len(asked["base", "retrieved"]) == result.dataset.figures["questions"]["test"]
    for each in predictions:
        assert len(each["passages"]) == {"closed-book": 0, "oracle": 1}.get(each["context"], 2)
        assert set(each["passages"]) <= passages.keys()
        told = any(answer in passages[id_]["text"] for id_ in each["passages"] for answer in each["references"])
        assert not (each["context"] == "distractors" and (told or each["answerable_in_context"]))


def test_what_tuning_cost_on_general_text_is_reported(first):
    _, result, _ = first
    base, tuned = result.evaluation.report.forgetting
    assert (base.arm, base.change, tuned.arm) == ("base", None, "tuned")
    assert tuned.change.value == pytest.approx(tuned.nll.value - base.nll.value)
    assert tuned.change.value != 0
    page = (Path(result.evaluation.folder) / "report.html").read_text(encoding="utf-8")
    assert "Likelihood of general text" in page


def test_what_the_base_knows_without_passages_is_in_the_report_and_the_manifest(first):
    project, result, _ = first
    folder = Path(result.evaluation.folder)
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [each for each in predictions if (each["arm"], each["context"]) == ("base", "closed-book") and each["references"]]
    assert asked
    assert result.evaluation.report.closed_book.n == len(asked)
    figures = Workspace(project).find("evaluations", None).figures
    assert figures["closed_book"] == {"exact": result.evaluation.report.closed_book.exact, "n": len(asked)}


def test_questions_whose_documents_are_not_read_are_counted_by_what_they_need(first, finished, tmp_path):
    scanned = tmp_path / "scanned.jsonl"
    questions = [{"id": f"s{n}", "question": f"What says line {n}?", "answers": ["no"], "document": "scan.pdf", "evidence": "no",
                  "needs": "ocr"} for n in range(3)]  # fmt: skip
    scanned.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
    few = ["train.max_answers=4", "train.epochs=1", "evaluate.arms=['tuned']", "evaluate.contexts=['retrieved']"]
    project = Project(finished, overrides=few)
    project.dataset([Path(project.settings.questions[0]), scanned])
    project.train()
    made = project.evaluate(split="validation")
    assert made.report.unasked == {"ocr": 3}
    assert project.report(made.name).report == made.report
    assert any("3 questions were not asked" in note for note in made.report.notes)


def test_no_test_question_is_trained_on(first):
    _, result, _ = first
    folder = Path(result.dataset.folder)
    splits = {
        name: {json.loads(line)["id"] for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()}
        for name in ("train", "validation", "test")
    }
    assert all(splits.values())
    assert not splits["train"] & splits["test"]
    assert not splits["validation"] & splits["test"]
    assert sum(map(len, splits.values())) == 34


def squad_articles(places: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "title": place,
            "paragraphs": [
                {
                    "context": fact(place, thing),
                    "qas": [
                        {
                            "id": f"{place}-{thing}",
                            "question": f"Who built the {thing} of {place}?",
                            "answers": [{"text": builder(place, thing), "answer_start": fact(place, thing).index(builder(place, thing))}],
                        }
                    ],
                }
                for thing in THINGS[:4]
            ],
        }
        for place in places
    ]


def test_the_articles_of_squad_questions_are_the_documents_where_none_are_given(tmp_path, tiny_chat, tiny_embedder, cache):
    articles = squad_articles(PLACES[:6])
    questions = tmp_path / "squad.json"
    questions.write_text(json.dumps({"data": articles}), encoding="utf-8")
    overrides = [f"model.base={json.dumps(str(tiny_chat))}", f"embed.model={json.dumps(str(tiny_embedder))}", "generate.max_new_tokens=2",
                 "train.epochs=1", "evaluate.arms=['tuned']", "evaluate.contexts=['retrieved']"]  # fmt: skip
    project = Project(tmp_path / "project", overrides=overrides, create=True)
    result = project.run([], [questions])
    assert result.ingest is not None
    assert result.ingest.documents == len(articles)
    assert result.dataset is not None
    assert sum(result.dataset.figures["questions"].values()) == 24
    assert not result.dataset.left_out
    assert project.run([], [questions]).ingest.unchanged == len(articles)


class StoppedError(Exception):
    """A run was ended on purpose, behind the stage that a test looks at."""


def stop(*_: Any, **__: Any) -> Any:
    raise StoppedError


def test_the_questions_of_a_run_are_no_documents_where_they_lie_among_them(tmp_path, tiny_chat, tiny_embedder, cache, monkeypatch):
    sources = write_sources(tmp_path / "sources")
    inside = shutil.move(sources.questions, sources.documents / "questions.jsonl")
    project = write_project(tmp_path / "project", sources, tiny_chat, tiny_embedder)
    recorder = Recorder()
    monkeypatch.setattr("ragtune.pipeline.run.build_index", stop)
    with pytest.raises(StoppedError):
        Project(project, overrides=["questions=[]"], progress=recorder).run([sources.documents], [inside])
    assert any("as they hold the questions: questions.jsonl" in note for note in recorder.notes)
    corpus = Corpus(project / ".ragtune" / "corpus.db")
    assert set(corpus.files()) == {f"{place.lower()}.md" for place in PLACES[:8]}
    corpus.close()


def test_a_run_follows_the_articles_of_changed_squad_questions(tmp_path, tiny_chat, tiny_embedder, cache, monkeypatch):
    monkeypatch.setattr("ragtune.pipeline.run.build_index", stop)
    questions = tmp_path / "squad.json"
    overrides = [f"model.base={json.dumps(str(tiny_chat))}", f"embed.model={json.dumps(str(tiny_embedder))}"]
    project = Project(tmp_path / "project", overrides=overrides, create=True)
    folder = project.workspace.folder / "articles"

    def ingested(articles: list[dict[str, Any]]) -> dict[str, str]:
        questions.write_text(json.dumps({"data": articles}), encoding="utf-8")
        with pytest.raises(StoppedError):
            project.run([], [questions])
        corpus = Corpus(project.workspace.corpus)
        texts = {document.source: document.text for document in corpus.documents()}
        corpus.close()
        return texts

    articles = squad_articles(PLACES[:3])
    questions.write_text(json.dumps({"data": articles}), encoding="utf-8")
    assert project.run([], [questions], dry_run=True).forecast.total
    assert not folder.exists(), "a dry run makes nothing"
    assert set(ingested(articles)) == {f"{place}.md" for place in PLACES[:3]}
    articles = squad_articles(PLACES[1:4])
    articles[0]["paragraphs"][0]["context"] += " It was painted later."
    texts = ingested(articles)
    assert set(texts) == {f"{place}.md" for place in PLACES[1:4]} == {path.name for path in folder.iterdir()}
    assert "It was painted later." in texts[f"{PLACES[1]}.md"]


def test_manifests_carry_the_lineage(first):
    project, _, _ = first
    workspace = Workspace(project)
    data, model, evaluation = (workspace.find(kind, None) for kind in ("datasets", "models", "evaluations"))
    assert model.inputs["dataset"] == data.name
    assert model.inputs["dataset_key"] == data.key
    assert evaluation.inputs["models"] == {"tuned": model.key}
    assert evaluation.inputs["dataset"] == data.name
    assert evaluation.inputs["corpus"] == data.inputs["corpus"]
    folder = workspace.artifact("datasets", data.name)
    assert evaluation.inputs["questions"] == hash_file(folder / "test.jsonl")
    assert data.inputs["questions"]["questions.jsonl"] == hash_file(Path(Project(project).settings.questions[0]))
    assert data.settings["retrieve"]["k"] == evaluation.settings["k"] == 2
    assert model.settings["train"]["epochs"] == 2
    for manifest in (data, model, evaluation):
        assert manifest.versions["ragtune"]
        assert manifest.created.startswith("20")
        assert manifest.device == "cpu"
        assert "sk-" not in json.dumps([manifest.settings, manifest.inputs], default=str)


def test_a_second_run_skips_everything_and_says_so(first, finished):
    before = files(finished)
    recorder = Recorder()
    again = Project(finished, progress=recorder).run()
    assert recorder.started == []
    assert [note.split(":")[0] for note in recorder.notes if "unchanged" in note] == ["dataset", "train", "evaluate"]
    assert (again.dataset.made, again.model.made, again.evaluation.made) == (False, False, False)
    assert again.evaluation.name == first[1].evaluation.name
    assert again.evaluation.report == first[1].evaluation.report
    after = files(finished)
    assert {name for name in after if after[name] != before.get(name)} <= {".ragtune/corpus.db", ".ragtune/generations.db"}


def test_a_dry_run_predicts_and_makes_nothing(project, sources, cache, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    overrides = [f"{name}={json.dumps(value)}" for name, value in changed_settings(Project(project).settings, Settings()).items()]
    for predicting in (Project(project), Project(tmp_path / "new", overrides=overrides, create=True)):
        result = predicting.run([sources.documents], [sources.questions], dry_run=True)
        assert set(result.forecast.stages) == set(STAGES)
        assert result.forecast.total == pytest.approx(sum(result.forecast.stages.values()))
        assert result.evaluation is None
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_counts_the_vectors_that_are_missing(project, sources, cache):
    def index() -> float:
        return Project(project).run([], [], dry_run=True).forecast.stages["index"]

    whole = index()
    Project(project).ingest()
    ingested = index()
    assert ingested == pytest.approx(whole, rel=0.5), "chunks are estimated before an ingest, and counted after it"
    Project(project).index()
    done = index()
    assert done < ingested
    (first, *_) = sorted(sources.documents.iterdir())
    first.write_text(first.read_text(encoding="utf-8") * 20, encoding="utf-8")
    assert index() > done


def test_a_dry_run_of_a_finished_project_changes_nothing(first, finished):
    before = files(finished)
    assert Project(finished).run(dry_run=True).forecast == first[1].forecast
    assert files(finished) == before


def test_a_run_says_again_what_was_predicted_and_plans_anew_for_a_folder_that_grew(project, sources, cache, monkeypatch):
    monkeypatch.setattr("ragtune.pipeline.run.build_index", stop)

    def notes() -> list[str]:
        recorder = Recorder()
        with pytest.raises(StoppedError):
            Project(project, progress=recorder).run(budget="1s")
        return recorder.notes

    first = notes()
    predicted = [note for note in first if note.startswith("predicted: ")]
    assert "the least that can be measured" in predicted[0]
    again = notes()
    assert [note for note in again if note.startswith("predicted: ")] == predicted
    assert not any(note.startswith("measuring") for note in again)
    assert [any(note.startswith("begun before") for note in each) for each in (first, again)] == [False, True]
    with (sources.documents / "calder.md").open("a", encoding="utf-8") as file:
        file.write("It stands still. " * 20_000)
    grown = notes()
    assert any(note.startswith("measuring") for note in grown)
    assert not any(note.startswith("begun before") for note in grown)
    assert [note for note in grown if note.startswith("predicted: ")] != predicted


def test_changing_what_a_stage_reads_runs_it_and_what_follows(first, finished):
    recorder = Recorder()
    result = Project(finished, overrides=["evaluate.contexts=['retrieved']", "evaluate.max_questions=5"], progress=recorder).run()
    assert set(recorder.finished) == {"ingest", "index", "evaluate"}
    assert (result.dataset.made, result.model.made, result.evaluation.made) == (False, False, True)
    assert result.evaluation.report.questions == 5
    assert result.evaluation.report.test_readings == 2, "each reading of the test split is counted"
    assert any("sample of 5" in note for note in result.evaluation.report.notes)


def test_what_was_answered_is_not_answered_again(first, finished, monkeypatch):
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was asked again")

    monkeypatch.setattr("ragtune.engine.huggingface.HuggingFaceEngine.generate", forbidden)
    shutil.rmtree(finished / ".ragtune" / "evaluations")
    again = Project(finished).evaluate()
    assert again.made
    assert again.report.sentence == first[1].evaluation.report.sentence
    assert again.report.test_readings == 1, "going on is no new reading"


def test_a_kill_behind_the_last_step_costs_no_training_and_its_seconds_count_all_sittings(first, finished, monkeypatch):
    few = Project(finished, overrides=["train.max_answers=6", "train.epochs=1"])
    with monkeypatch.context() as patch:
        patch.setattr("ragtune.pipeline.train.write_manifest", stop)
        with pytest.raises(StoppedError):
            few.train(name="few")
    folder = finished / ".ragtune" / "models" / "few"
    trained = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    with monkeypatch.context() as patch:
        patch.setattr("ragtune.train.loop._Run._step", stop)
        assert few.train(name="few").figures["steps"] == trained["step"]
    assert Workspace(finished).find("models", "few").seconds == pytest.approx(trained["seconds"], abs=0.001)
    assert not (folder / CHECKPOINT).exists()
    (folder / CHECKPOINT).write_bytes(b"as a kill behind the manifest leaves it")
    assert not few.train(name="few").made
    assert not (folder / CHECKPOINT).exists()


def test_documents_and_questions_given_once_are_kept_in_the_settings(tmp_path, tiny_chat, tiny_embedder, cache):
    sources = write_sources(tmp_path / "sources")
    overrides = [
        f"embed.model={tiny_embedder}",
        f"model.base={tiny_chat}",
        "model.dtype=float32",
        "model.device=cpu",
        "prepare.chunk_size=40",
        "retrieve.k=2",
    ]
    overrides += ["train.epochs=1", "train.rank=2", "generate.max_new_tokens=6", "generate.batch_size=8", "train.answers_per_step=4"]
    overrides += ["evaluate.arms=['base', 'tuned']", "evaluate.contexts=['retrieved']"]
    made = Project(tmp_path / "new", overrides=overrides, create=True).run([sources.documents], [sources.questions], budget="1s")
    assert made.forecast.note
    recorder = Recorder()
    project = Project(tmp_path / "new", overrides=overrides, progress=recorder)
    assert project.settings.documents == (str(sources.documents),)
    assert project.settings.questions == (str(sources.questions),)
    again = project.run(budget="1s")
    assert again.forecast == made.forecast
    assert not [note for note in recorder.notes if "measuring" in note], "the first plan is kept to"
    assert not again.evaluation.made


def test_a_budget_samples_questions_and_the_report_says_so(tmp_path, tiny_chat, tiny_embedder, cache):
    project = write_project(tmp_path / "project", write_sources(tmp_path / "sources", places=12, facts=8), tiny_chat, tiny_embedder)
    overrides = ["evaluate.arms=['base', 'tuned']", "evaluate.contexts=['retrieved']", "train.epochs=1"]
    result = Project(project, overrides=overrides).run(budget="1s")
    assert result.forecast.max_answers == FEWEST
    assert result.forecast.max_questions == FEWEST
    assert result.model.figures["questions"] == FEWEST
    assert result.dataset.figures["questions"]["train"] > FEWEST
    assert result.evaluation.report.questions == FEWEST
    assert any(f"sample of {FEWEST}" in note for note in result.evaluation.report.notes)
    assert "longer than the budget" in result.forecast.note


def test_a_question_that_was_read_stays_read_whatever_is_changed_around_it(first, finished):
    changed = Project(finished, overrides=["retrieve.dense_weight=0.9", "dataset.quote_words=9", "train.epochs=1",
                                           "evaluate.contexts=['retrieved']", "evaluate.arms=['tuned']"])  # fmt: skip
    result = changed.run()
    assert result.dataset.made
    assert result.evaluation.report.test_readings == 2
    assert any("has been read 2 times" in note for note in result.evaluation.report.notes)


def test_a_test_file_is_the_test_split_and_no_document(tmp_path, tiny_chat, tiny_embedder, cache):
    sources = write_sources(tmp_path / "sources", places=4, facts=4)
    lines = sources.questions.read_text(encoding="utf-8").splitlines()
    mine = sources.documents / "mine.jsonl"
    mine.write_text("\n".join(lines[:4]), encoding="utf-8")
    sources.questions.write_text("\n".join(lines[4:]), encoding="utf-8")
    overrides = [f"embed.model={tiny_embedder}", f"model.base={tiny_chat}", "train.epochs=1", "train.rank=2", "generate.max_new_tokens=2",
                 "evaluate.arms=['tuned']", "evaluate.contexts=['retrieved']"]  # fmt: skip
    project = Project(tmp_path / "new", overrides=overrides, create=True)
    result = project.run([sources.documents], [sources.questions], test=[mine])
    assert result.ingest.documents == 4
    assert result.evaluation.report.questions == result.dataset.figures["questions"]["test"] == 4


def test_single_commands_go_on_with_what_a_run_overrode(tmp_path, tiny_chat, tiny_embedder, cache):
    sources = write_sources(tmp_path / "sources", places=4, facts=3)
    overrides = [f"embed.model={tiny_embedder}", f"model.base={tiny_chat}", "train.epochs=1", "train.max_answers=5", "train.rank=2",
                 "generate.max_new_tokens=2", "evaluate.arms=['tuned']", "evaluate.contexts=['retrieved']"]  # fmt: skip
    made = Project(tmp_path / "new", overrides=overrides, create=True).run([sources.documents], [sources.questions])
    later = Project(tmp_path / "new")
    assert (later.settings.train.max_answers, later.settings.evaluate.arms) == (5, ("tuned",))
    assert (later.train().made, later.evaluate().made) == (False, False)
    assert later.train().name == made.model.name


def test_the_control_without_context_learns_as_the_tuned_model_did_and_answers_nobody(first, finished):
    few = Project(finished, overrides=["train.max_answers=6", "train.epochs=1"])
    tuned = few.train(name="few")
    arms = ["evaluate.arms=['tuned', 'dsf']", "evaluate.contexts=['retrieved']"]
    result = Project(finished, overrides=arms).evaluate(model="few", split="validation")
    control = next(name for name in result.report.models.values() if name.startswith("dsf-"))
    manifest = Workspace(finished).find("models", control)
    assert manifest.settings["train"] == Workspace(finished).find("models", "few").settings["train"]
    assert manifest.figures["questions"] == 6
    *_, answer = Project(finished).ask("Who built the mill of Calder?")
    assert tuned.name in answer.model, "the newest model is the control, which answers nobody"
    with pytest.raises(ProjectError, match="tuned without passages"):
        Project(finished).evaluate(model=control)
    for model in Workspace(finished).manifests("models"):
        if model.name != control:
            shutil.rmtree(finished / ".ragtune" / "models" / model.name)
    *_, answer = Project(finished).ask("Who built the mill of Calder?")
    assert control not in answer.model, "where there is nothing but a control the base answers"


def test_a_model_of_another_prompt_is_not_served(first, finished):
    path = Path(finished, ".ragtune", "models", first[1].model.name, "manifest.json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["settings"]["prompt"] = 0
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ProjectError, match="prompts of version 0"):
        list(Project(finished).ask("Who built the mill of Calder?"))


def test_the_tuned_model_answers_and_the_base_too(first, finished):
    question = "Who built the mill of Calder?"
    for model in (None, "base", first[1].model.name):
        *pieces, answer = Project(finished).ask(question, model=model)
        assert isinstance(answer, Answer)
        assert "".join(map(str, pieces)) == answer.raw
        assert answer.passages[0].document == "calder.md"
        assert builder("Calder", "mill") in answer.passages[0].text
        assert (first[1].model.name in answer.model) == (model != "base")


def test_an_example_is_shown_as_the_model_sees_it(first, finished):
    view = Project(finished).dataset_show()
    assert view.split == "train"
    assert view.messages[-1].content.split("Question: ")[1] in view.text
    assert view.completion.endswith("<|im_end|>")
    assert 0 < view.trained_tokens < view.tokens
    with pytest.raises(ProjectError, match="has no example 'absent'"):
        Project(finished).dataset_show("absent")


def test_options_before_show_hold_for_it(first, finished, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def show(*arguments: object) -> None:
        cli.app(["dataset", *map(str, arguments)], standalone_mode=False)

    show("--project", finished, "--json", "--name", first[1].dataset.name, "show")
    assert json.loads(capsys.readouterr().out)["split"] == "train"
    with pytest.raises(ProjectError, match="named absent"):
        show("--project", finished, "--name", "absent", "show")
    with pytest.raises(ConfigError, match="did you mean train"):
        show("--project", finished, "--set", "train.epoch=2", "show")


def test_a_name_in_use_for_other_inputs_is_refused(first, finished):
    taken = first[1]
    changed = Project(finished, overrides=["train.seed=7", "dataset.seed=7", "evaluate.seed=7"])
    with pytest.raises(ProjectError, match="was made from other inputs"):
        changed.dataset(name=taken.dataset.name)
    with pytest.raises(ProjectError, match="was made from other inputs"):
        changed.train(name=taken.model.name)
    with pytest.raises(ProjectError, match="was made from other inputs"):
        changed.evaluate(name=taken.evaluation.name)


def test_artifacts_survive_a_sync_of_the_corpus(first, finished, tmp_path):
    empty = tmp_path / "other"
    empty.mkdir()
    (empty / "a.md").write_text("# Other\n\nNothing of the old documents is left here at all.", encoding="utf-8")
    project = Project(finished)
    project.ingest([empty])
    project.index()
    assert project.report().report.sentence == first[1].evaluation.report.sentence
    validated = project.evaluate(split="validation")
    assert validated.made, "a dataset carries its own passages"
    assert (validated.report.test_readings, validated.report.split) == (0, "validation")
    assert "validation questions" in Path(validated.folder, "report.html").read_text(encoding="utf-8")


def test_a_project_without_questions_says_what_to_do(tmp_path, tiny_chat, tiny_embedder, cache):
    sources = write_sources(tmp_path / "sources")
    sources.questions.write_text("", encoding="utf-8")
    project = write_project(tmp_path / "project", sources, tiny_chat, tiny_embedder)
    with pytest.raises(QuestionError, match="no questions found"):
        Project(project).run(budget="1m")
    assert not (project / ".ragtune" / "corpus.db").exists(), "it is said before the work, not after"


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("1h30m", 5400), ("900s", 900), ("15", 900), (" 2H ", 7200), ("1.5h", 5400), ("1m30s", 90)]
)
def test_budgets_are_read(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "-5m", "30m1h", "m", "0", "0m", "٣m"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ConfigError, match="write it like 20m"):
        parse_budget(text)


def test_a_forecast_keeps_to_its_budget_by_sampling(tmp_path):
    settings = Project(tmp_path).settings
    sizes, rates = Sizes(files=100, chunks=2000, train=4000, validation=300, test=500), Rates(chunks=200, answers=3, prompts=4, load=5)
    free = forecast(settings, sizes, rates)
    assert (free.max_answers, free.max_questions, free.budget) == (None, None, None)
    for budget in (200, 400, 800):
        fit = forecast(settings, sizes, rates, budget)
        assert fit.total <= budget
        assert fit.max_answers is not None
        assert fit.max_questions is not None
        assert FEWEST <= fit.max_answers < sizes.train
        assert FEWEST <= fit.max_questions < sizes.test
        assert "sampled" in fit.note
    assert forecast(settings, sizes, rates, free.total * 2).max_answers is None
    assert "longer than the budget" in forecast(settings, sizes, rates, 1.0).note


def test_a_forecast_counts_the_writing_of_what_is_rehearsed(tmp_path):
    settings = Project(tmp_path).settings
    with_control = Project(tmp_path, overrides=['evaluate.arms=["base", "tuned", "dsf"]']).settings
    sizes, rates = Sizes(files=100, chunks=2000, train=4000, validation=300, test=500), Rates(chunks=200, answers=3, prompts=4, load=5)
    for of, runs in ((settings, 1), (with_control, 2)):
        without, written = (forecast(of, sizes, each) for each in (rates, replace(rates, rehearsal=40.0)))
        assert written.stages["train"] == pytest.approx(without.stages["train"] + 40 * runs)
    assert forecast(settings, sizes, replace(rates, rehearsal=40.0), 400).total <= 400


def test_a_forecast_counts_the_reranker_and_says_what_it_guesses(tmp_path):
    plain = Project(tmp_path).settings
    settings = Project(
        tmp_path, overrides=["retrieve.reranker=some-reranker", "retrieve.rerank_candidates=20", "retrieve.expand=section"]
    ).settings
    sizes, rates = Sizes(files=100, chunks=2000, train=400, validation=30, test=50), Rates(200, 3, 4, 5)
    read = forecast(settings, sizes, replace(rates, pairs=40.0))
    assert read.stages["dataset"] == pytest.approx(forecast(plain, sizes, rates).stages["dataset"] + 480 * 20 / 40)
    assert "passages are taken to be 2 chunks long" in read.note
    assert forecast(plain, sizes, rates).note == ""
    assert "sampled" in forecast(settings, sizes, replace(rates, pairs=40.0), 600).note


def test_longer_passages_and_a_reranker_are_measured(tmp_path, sources, tiny_chat, tiny_embedder, cache):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = sentence_transformers.CrossEncoder(str(tiny_embedder), num_labels=1, device="cpu", local_files_only=True)
    model.save_pretrained(str(tmp_path / "reranker"))
    project = write_project(tmp_path / "project", sources, tiny_chat, tiny_embedder)
    opened = Project(project, overrides=[f"retrieve.reranker={tmp_path / 'reranker'}", "retrieve.expand=neighbours"])
    rates = measure_rates(opened.workspace, opened.settings)
    assert rates.pairs > 0
    assert measure_rates(opened.workspace, opened.settings) == rates, "it is measured once"
    plain = Project(project)
    assert measure_rates(opened.workspace, plain.settings).pairs == 0
    adopted = {"name": "r", "embed_model": plain.settings.embed.model, "dimensions": None}
    write_json(opened.workspace.adopted, {**adopted, "embedder": False, "reranker": True, "rerank_weight": 0.3})
    shutil.copytree(tmp_path / "reranker", opened.workspace.artifact("retrievers", "r") / "reranker")
    assert measure_rates(opened.workspace, plain.settings).pairs > 0, "a tuned one that serves takes time, too"
