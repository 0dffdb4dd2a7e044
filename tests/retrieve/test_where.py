"""What may not be found is left out before anything is ranked, whichever way it would be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_hybrid import WordCounts

from ragtune import Project
from ragtune.corpus import Corpus
from ragtune.corpus.filter import access_tags
from ragtune.index.exact import ExactStore
from ragtune.prepare import Source
from ragtune.prepare.read import read_source
from ragtune.protocols import VectorStore
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.types import JSON, Chunk, Document, Where
from tiny_project import Sources

DOCUMENTS: dict[str, tuple[str, dict[str, JSON]]] = {
    "hr/pay.md": ("salary of the staff", {"access": ["hr", "board"]}),
    "hr/plan.md": ("salary plan of the board", {"access": "board"}),
    "hr/none.md": ("salary of nobody", {"access": {"odd": 1}}),
    "open/salary.md": ("salary in public", {}),
    "open/note.txt": ("salary salary salary", {"author": "access"}),
}


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    opened = Corpus(tmp_path / "corpus.db")
    for name, (text, metadata) in DOCUMENTS.items():
        kind = "text/plain" if name.endswith(".txt") else "text/markdown"
        opened.put_file(name, "h", "k", [(Document(name, name, text, kind, metadata), [Chunk(name, name, 0, len(text), text)])])
    yield opened
    opened.close()


def make_faiss(dimension: int) -> VectorStore:
    return pytest.importorskip("ragtune.index.faiss", reason="faiss is not installed", exc_type=ModuleNotFoundError).FaissStore(dimension)


@pytest.mark.parametrize("make", [ExactStore, make_faiss])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, set(DOCUMENTS)),
        (Where(), set(DOCUMENTS)),
        (Where(access=()), {"open/salary.md", "open/note.txt"}),
        (Where(access=("hr",)), {"hr/pay.md", "open/salary.md", "open/note.txt"}),
        (Where(access=("board",)), {"hr/pay.md", "hr/plan.md", "open/salary.md", "open/note.txt"}),
        (Where(access=("hr*", "", "HR")), {"open/salary.md", "open/note.txt"}),
        (Where(source="hr/*"), {"hr/pay.md", "hr/plan.md", "hr/none.md"}),
        (Where(access=("hr",), source="hr/*"), {"hr/pay.md"}),
        (Where(media_type="text/plain"), {"open/note.txt"}),
        (Where(source="gone/*"), set()),
    ],
)
def test_dense_and_lexical_search_find_what_may_be_found_and_nothing_else(
    corpus: Corpus, make: Callable[[int], VectorStore], weight: float, where: Where | None, expected: set[str]
) -> None:
    embedder = WordCounts()
    missing = corpus.embedding_texts(corpus.missing_rows(embedder.fingerprint))
    corpus.put_vectors(embedder.fingerprint, [key for key, _ in missing], embedder.embed_documents([text for _, text in missing]))
    store = make(embedder.dimension)
    store.add(*corpus.vectors(embedder.fingerprint))
    retriever = HybridRetriever(corpus, embedder, store, dense_weight=weight, where=where)
    assert {hit.chunk.document for hit in retriever.retrieve(["salary"], 10)[0]} == expected
    # Before the ranking, not after: a single place goes to what may be found.
    assert len(retriever.retrieve(["salary of nobody"], 1)[0]) == min(1, len(expected))


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (None, set()),
        ("", set()),
        ([], set()),
        ("staff", {"staff"}),
        ("staff, board", {"staff", "board"}),
        ('["staff", "board"]', {"staff", "board"}),
        (["staff", 7], {"staff", "7"}),
        (False, {"False"}),
    ],
)
def test_tags_are_read_as_people_write_them(value: JSON, tags: set[str]) -> None:
    assert access_tags(value) == tags


def test_a_project_searches_and_answers_from_what_the_asker_may_see(project: Path, sources: Sources) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    secret = sources.documents / "calder.md"
    secret.write_text(f"---\naccess: staff\n---\n{secret.read_text(encoding='utf-8')}", encoding="utf-8")
    opened = Project(project)
    opened.ingest()
    opened.index()
    question = "Who built the mill of Calder?"

    def shown(**asked: Any) -> set[str]:
        *_, answer = opened.ask(question, model="base", k=3, **asked)
        return {passage.document for passage in answer.passages}  # type: ignore[union-attr]

    assert "calder.md" in shown()
    assert "calder.md" in shown(access=["staff"])
    assert "calder.md" not in shown(access=[])
    assert {hit.source for hit in opened.search(question, 40, access=["else"])} == {f.name for f in sources.documents.iterdir()} - {
        "calder.md"
    }
    assert {hit.source for hit in opened.search(question, 5, source="dun*")} == {"dunmere.md"}


def test_a_record_without_a_text_field_keeps_its_tags(tmp_path: Path) -> None:
    file = tmp_path / "staff.jsonl"
    file.write_text('{"id": "1", "salary": 7, "access": ["hr"]}\n{"id": "2", "text": "salary", "access": "hr"}\n', encoding="utf-8")
    found = read_source(Source(file, file.name))
    assert [access_tags(document.metadata["access"]) for document in found] == [{"hr"}, {"hr"}]
