"""Metadata by rule, and leaving out by language: both follow their settings without reading or embedding anything again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project
from ragtune.corpus import Corpus
from ragtune.errors import ConfigError, MissingExtraError
from ragtune.prepare.given import given_metadata, unused_rules
from ragtune.prepare.language import refuses_language

pytest.importorskip("faiss", reason="faiss is not installed")

QUESTION = "Who built the mill of Calder?"
GERMAN = "Die Seilbahn hält bei starkem Wind an, und die Gäste warten in der Bergstation auf die nächste Fahrt ins Tal. " * 3


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, stage: str, total: float | None = None) -> None: ...
    def update(self, stage: str, done: float, detail: str = "", left: float | None = None) -> None: ...
    def finish(self, stage: str, message: str) -> None: ...
    def note(self, message: str) -> None:
        self.notes.append(message)


def found(project: Path, *access: str, settings: list[str] | None = None) -> set[str]:
    return {hit.source for hit in Project(project, overrides=settings or []).search(QUESTION, 60, access=access)}


def rules(text: str) -> list[str]:
    return [f"prepare.metadata={text}"]


def forbid_work(monkeypatch: Any) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("this must not be called")

    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", forbidden)
    monkeypatch.setattr("ragtune.embed.sentence_transformers.SentenceTransformersEmbedder.embed_documents", forbidden)
    monkeypatch.setattr("ragtune.index.faiss.FaissStore.save", forbidden)


def test_a_tag_is_in_force_at_the_next_ingest_and_nothing_is_read_or_embedded_for_it(project: Path, monkeypatch: Any) -> None:
    Project(project).ingest()
    Project(project).index()
    everything = found(project)
    assert "calder.md" in everything
    forbid_work(monkeypatch)
    tagged = rules('{"cal*" = {access = ["staff"]}}')
    assert Project(project, overrides=tagged).ingest().retagged == 1
    assert Project(project).search(QUESTION, 1, access=[])[0].source != "calder.md", "before the ranking: the place goes to another"
    assert found(project) == everything - {"calder.md"}
    assert found(project, "staff") == everything
    assert Project(project, overrides=rules('{"cal*" = {access = ["board"]}}')).ingest().retagged == 1
    assert found(project, "staff") == everything - {"calder.md"}
    assert Project(project).ingest().retagged == 1, "without the rule it is as its file says"
    assert found(project) == everything
    assert Project(project).index().action == "unchanged"


def test_a_rule_counts_above_the_file_and_a_new_document_is_tagged_from_its_first_moment(
    project: Path, sources: Any, monkeypatch: Any
) -> None:
    secret = sources.documents / "calder.md"
    secret.write_text(f"---\naccess: everyone\n---\n{secret.read_text(encoding='utf-8')}", encoding="utf-8")
    tagged = rules('{"*" = {access = ["board"], topic = "mills"}, "dun*" = {access = []}}')
    with monkeypatch.context() as patch:
        patch.setattr("ragtune.pipeline.ingest.dedupe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Project(project, overrides=tagged).ingest()
    with contextlib.closing(Corpus(project / ".ragtune" / "corpus.db")) as corpus:
        metadata = {each.source: dict(each.metadata) for each in corpus.all_documents()}
    assert (metadata["calder.md"]["access"], metadata["calder.md"]["topic"]) == (["board"], "mills")
    assert metadata["dunmere.md"]["access"] == []
    Project(project, overrides=tagged).index()
    assert found(project, "everyone") == {"dunmere.md"}
    (sources.documents / "calder.md").write_text("# Calder\n\nWho built the mill of Calder? Nobody.", encoding="utf-8")
    Project(project, overrides=tagged).ingest()
    Project(project).index()
    assert found(project, "everyone") == {"dunmere.md"}


def test_an_open_copy_is_found_though_a_restricted_one_sorts_before_it(project: Path, sources: Any) -> None:
    text = (sources.documents / "calder.md").read_text(encoding="utf-8")
    (sources.documents / "board.md").write_text(text, encoding="utf-8")
    (sources.documents / "bored.md").write_text(f"{text}\nOne more line.\n", encoding="utf-8")

    def ingested(settings: list[str]) -> list[str]:
        made = Project(project, overrides=settings).ingest()
        Project(project, overrides=settings).index()
        return [each.source for each in made.duplicates]

    assert ingested([]) == ["bored.md", "calder.md"]
    tagged = rules('{"board*" = {access = ["board"]}}')
    assert ingested(tagged) == ["calder.md"], "of the two that all may see, one"
    assert "bored.md" in found(project)
    assert "board.md" not in found(project)
    assert {"board.md", "bored.md"} <= found(project, "board")
    assert ingested(rules('{"bo*" = {access = ["board"]}}')) == ["bored.md"]
    assert "calder.md" in found(project)
    assert ingested(rules('{"bo*" = {access = ["board"]}, "calder*" = {access = ["board"]}}')) == ["bored.md", "calder.md"]
    assert ingested([]) == ["bored.md", "calder.md"], "without the rules it is as it was"


def test_a_rule_that_fits_nothing_is_said(project: Path) -> None:
    notes = Notes()
    Project(project, overrides=rules('{"hr/*" = {access = ["hr"]}, "cal*" = {x = 1}}'), progress=notes).ingest()
    assert [note for note in notes.notes if "fits no document" in note] == ['prepare.metadata: "hr/*" fits no document']


def test_rules_fit_documents_and_all_that_a_file_holds() -> None:
    some = {"hr/*": {"access": ["hr"], "a": 1}, "hr/a.zip": {"a": 2}, "*.csv#3": {"b": 3}}
    assert given_metadata("hr/a.zip/x.md", "hr/a.zip", some) == {"access": ["hr"], "a": 2}
    assert given_metadata("t.csv#3", "t.csv", some) == {"b": 3}
    assert given_metadata("T.CSV#3", "T.CSV", some) == {}
    assert unused_rules([("hr/a.zip/x.md", "hr/a.zip")], some) == ["*.csv#3"]


def test_a_file_that_says_nan_harms_no_search(project: Path, sources: Any) -> None:
    (sources.documents / "odd.jsonl").write_text('{"id": 1, "text": "Slate heron", "x": NaN, "language": NaN}\n', encoding="utf-8")
    settings = ['prepare.languages=["en"]', *rules('{"odd*" = {access = ["staff"]}}')]
    Project(project, overrides=settings).ingest()
    Project(project, overrides=settings).index()
    assert "odd.jsonl#1" not in found(project)
    assert "odd.jsonl#1" in found(project, "staff")


@pytest.mark.parametrize(
    ("language", "kept"),
    [
        *[("en", True), ("EN-us", True), ("de_AT", True), ("fr", False), ("fr-CA", False), ("deu", True), ("German", True), ("", True)],
        *[(None, True), (7, True), (["fr"], True)],
    ],
)
def test_a_language_that_is_not_known_is_no_reason(language: Any, kept: bool) -> None:
    assert (refuses_language(language, ["en", "de"]) is None) is kept
    assert refuses_language(language, []) is None


def test_documents_in_other_languages_leave_the_index_and_come_back(project: Path, sources: Any, monkeypatch: Any) -> None:
    pytest.importorskip("py3langid", reason="py3langid is not installed")
    (sources.documents / "wind.md").write_text(f"# Wind\n\n{GERMAN}", encoding="utf-8")
    (sources.documents / "kurz.md").write_text("# Kurz\n\nSehr kurz.", encoding="utf-8")
    (sources.documents / "rows.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": f"row {n}", "language": code}) + "\n" for n, code in ((1, "en"), (2, "fr"))), encoding="utf-8"
    )
    whole = Project(project).ingest()
    assert (whole.documents, whole.left_out) == (12, ())
    Project(project).index()
    english = ['prepare.languages=["en"]', *rules('{"*.md" = {x = 1}, "[a-j]*.md" = {language = "en"}}')]
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", lambda *_, **__: pytest.fail("read again"))
    some = Project(project, overrides=english).ingest()
    assert {each.source: each.reason for each in some.left_out} == {
        "rows.jsonl#2": "its language is fr, which prepare.languages does not have",
        "wind.md": "its language is de, which prepare.languages does not have",
    }
    assert (some.documents, some.duplicates) == (10, ())
    assert json.loads((project / ".ragtune" / "ingest.json").read_text())["figures"]["left_out"] == 2
    Project(project).index()
    assert "wind.md" not in {hit.source for hit in Project(project).search("Seilbahn Wind Gäste", 60)}
    with contextlib.closing(Corpus(project / ".ragtune" / "corpus.db")) as corpus:
        assert "kurz.md" in {each.source for each in corpus.documents()}, "too short to tell"
    assert Project(project, overrides=['prepare.languages=["en", "de", "fr"]']).ingest().documents == 12
    Project(project).index()
    assert Project(project).search("Die Seilbahn hält bei starkem Wind", 60)
    assert Project(project).ingest().left_out == ()


def test_a_text_that_is_left_out_takes_no_place_of_a_copy(project: Path, sources: Any) -> None:
    for name, code in (("a.jsonl", "fr"), ("b.jsonl", "en")):
        (sources.documents / name).write_text(json.dumps({"id": 1, "text": "the very same text", "language": code}), encoding="utf-8")
    assert [each.source for each in Project(project).ingest().duplicates] == ["b.jsonl#1"]
    some = Project(project, overrides=['prepare.languages=["en"]']).ingest()
    assert (some.duplicates, [each.source for each in some.left_out]) == ((), ["a.jsonl#1"])


def test_languages_are_codes_and_need_what_tells_them(project: Path, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match=r"prepare\.languages"):
        Project(project, overrides=['prepare.languages=["english"]'])
    monkeypatch.setattr("ragtune.pipeline.ingest.can_tell_languages", lambda: False)
    with pytest.raises(MissingExtraError, match="py3langid"):
        Project(project, overrides=['prepare.languages=["en"]']).ingest()
