"""Rankings that come after the fusion, over a real corpus: re-ranked, spread, reworded, shown with what is around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragtune.corpus import Corpus
from ragtune.errors import ModelError, UnreachableError
from ragtune.passages import to_passage
from ragtune.quotes import check_quote
from ragtune.retrieve.expand import SECTION_CHUNKS, ExpandingRetriever, Expansion
from ragtune.retrieve.rerank import DiverseRetriever, RerankingRetriever, mmr_order
from ragtune.retrieve.rewrite import MultiQueryRetriever
from ragtune.types import Chunk, Document, Hit

SENTENCES = [f"Sentence number {n} tells of cabin {n}." for n in range(1, 13)]
TEXT = "# Lift\n\n" + "\n\n".join(SENTENCES) + "\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    """One document of twelve chunks: two of a first section, ten of a second."""
    opened = Corpus(tmp_path / "corpus.db")
    chunks = []
    for n, sentence in enumerate(SENTENCES, start=1):
        start = TEXT.index(sentence)
        headings = ("Lift",) if n <= 2 else ("Lift", "Cabins")
        chunks.append(Chunk(f"c{n:02}", "lift.md", start, start + len(sentence), sentence, "Lift", headings, " › ".join(headings)))
    opened.put_file("lift.md", "h", "k", [(Document("lift.md", "Lift", TEXT), chunks)])
    yield opened
    opened.close()


class Fixed:
    """Finds all chunks, in an order of its own for each question."""

    def __init__(self, corpus: Corpus, orders: dict[str, Sequence[int]] | None = None) -> None:
        self._chunks = corpus.all_chunks()
        self._orders = orders or {}

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        found = []
        for question in questions:
            order = self._orders.get(question, range(len(self._chunks)))
            found.append([Hit(self._chunks[i], 1 - rank / 20, rank) for rank, i in enumerate(order, start=1)][:k])
        return found


class LastFirst:
    """A reranker that likes a high number."""

    name = fingerprint = "last-first"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        assert all(text.startswith("Lift") for text in texts), "a chunk is read under its heading line"
        return [float(text.split("number ")[1].split()[0]) for text in texts]


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def test_the_candidates_are_ranked_anew_and_the_others_follow_as_they_were(corpus: Corpus) -> None:
    retriever = RerankingRetriever(Fixed(corpus), LastFirst(), candidates=4)
    (hits,) = retriever.retrieve(["q"], 7)
    assert ids(hits) == ["c04", "c03", "c02", "c01", "c05", "c06", "c07"]
    assert [hit.rank for hit in hits] == list(range(1, 8))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert retriever.retrieve(["q"], 2) == [hits[:2]], "more ranks asked for change none of the first"
    assert RerankingRetriever(Fixed(corpus, {"q": ()}), LastFirst()).retrieve(["q"], 3) == [[]]


def test_mmr_takes_what_is_new_before_what_is_alike() -> None:
    vectors_nd = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    likeness_nn = vectors_nd @ vectors_nd.T
    scores = [1.0, 0.9, 0.5, 0.4]
    assert mmr_order(scores, likeness_nn, 1.0) == [0, 1, 2, 3], "relevance alone"
    # By hand: scores in [0, 1] are 1, .833, .167, 0. After 0: 1 has .417 - .5, 2 has .083 - 0, 3 has 0 - .3.
    # After 2: 1 has -.083, 3 has 0 - .4.
    assert mmr_order(scores, likeness_nn, 0.5) == [0, 2, 1, 3]
    assert mmr_order([], likeness_nn[:0, :0], 0.5) == []


def test_equal_chunks_are_spread(corpus: Corpus) -> None:
    rows = [chunk.row for chunk in corpus.all_chunks()]
    same = {row: np.array([1, 0] if n < 3 else [0, 1], np.float32) for n, row in enumerate(rows)}
    retriever = DiverseRetriever(Fixed(corpus), lambda asked: {row: same[row] for row in asked}, relevance=0.5, candidates=5)
    (hits,) = retriever.retrieve(["q"], 6)
    assert ids(hits)[:2] == ["c01", "c04"]
    assert ids(hits)[5] == "c06", "what is no candidate keeps its place"
    assert [hit.rank for hit in hits] == list(range(1, 7))
    assert retriever.retrieve(["q"], 2) == [hits[:2]]


def test_wordings_are_fused_and_a_model_that_fails_leaves_the_question_as_it_is(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    inner = Fixed(corpus, {"q": (0, 1, 2), "other": (2, 3, 4), "third": (2, 5, 6)})
    (hits,) = MultiQueryRetriever(inner, lambda question: ["other", "third", question]).retrieve(["q"], 3)
    assert ids(hits)[0] == "c03"
    assert hits[0].score == pytest.approx(1 / 63 + 1 / 61 + 1 / 61)

    def fail(question: str) -> list[str]:
        raise UnreachableError("the server is gone")

    (plain,) = MultiQueryRetriever(inner, fail).retrieve(["q"], 3)
    assert ids(plain) == ["c01", "c02", "c03"]
    assert "the server is gone" in caplog.text


def test_neighbours_are_one_stretch_of_the_document(corpus: Corpus) -> None:
    chunks = corpus.all_chunks()
    expand = Expansion(corpus, "neighbours")
    assert [expand(chunks[at]).chunk_ids for at in (0, 5, 11)] == [("c01", "c02"), ("c05", "c06", "c07"), ("c11", "c12")]
    passage = expand(chunks[5])
    (span,) = passage.spans
    assert TEXT[span.start : span.end] == passage.text
    quote = check_quote("cabin 6.\n\nSentence number 7", [passage])
    assert quote.valid, "a quote may cross the border of chunks"
    assert TEXT[quote.start : quote.end] == "cabin 6.\n\nSentence number 7"


def test_a_section_is_one_passage_and_a_long_one_is_shown_in_even_parts(corpus: Corpus) -> None:
    chunks = corpus.all_chunks()
    expand = Expansion(corpus, "section")
    passages = {passage.id: passage for passage in map(expand, chunks)}
    assert [len(passage.chunk_ids) for passage in passages.values()] == [2, 5, 5]
    assert max(len(passage.chunk_ids) for passage in passages.values()) <= SECTION_CHUNKS
    assert [id_ for passage in passages.values() for id_ in passage.chunk_ids] == [chunk.id for chunk in chunks], "each chunk is in one"
    assert all(TEXT[p.spans[0].start : p.spans[0].end] == p.text for p in passages.values())
    assert Expansion(corpus, "section")(chunks[3]) == expand(chunks[4]), "the same whoever asks"


def test_a_chunk_that_a_better_passage_shows_is_passed_over(corpus: Corpus) -> None:
    retriever = ExpandingRetriever(Fixed(corpus), Expansion(corpus, "section"))
    (hits,) = retriever.retrieve(["q"], 3)
    assert ids(hits) == ["c01", "c03", "c08"]
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_a_chunk_that_the_corpus_no_longer_holds_is_shown_alone(corpus: Corpus) -> None:
    chunk = corpus.all_chunks()[2]
    assert Expansion(corpus, "section")(gone := Chunk("gone", "lift.md", chunk.start, chunk.end, chunk.text)) == to_passage(gone)


def test_a_cross_encoder_scores_pairs_as_the_library_does(tiny_embedder: Path, tmp_path: Path, monkeypatch) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from ragtune import build

    model = sentence_transformers.CrossEncoder(str(tiny_embedder), num_labels=1, device="cpu", local_files_only=True)
    model.save_pretrained(str(tmp_path / "one"))
    texts = ["mill of Calder", "tower of Dunmere and more", "mill of Calder", "a much longer text about the bridge of Kelby"]
    reranker = build.reranker(str(tmp_path / "one"), "cpu")
    scores = reranker.score("Who built the mill?", texts)
    assert scores == pytest.approx(model.predict([("Who built the mill?", text) for text in texts]).tolist(), abs=1e-5)
    assert scores[0] == scores[2]
    assert reranker.score("q", []) == []

    def predict(pairs, *, batch_size, **options):
        sizes.append(batch_size)
        if batch_size > 2:
            raise MemoryError
        return whole(pairs, batch_size=batch_size, **options)

    sizes, whole = [], reranker._model.predict
    monkeypatch.setattr(reranker._model, "predict", predict)
    assert reranker.score("Who built the mill?", texts) == pytest.approx(scores, abs=1e-5)
    assert reranker.score("Who built the mill?", texts) == pytest.approx(scores, abs=1e-5)
    assert sizes == [4, 2, 2], "no more than there are, and no more again than memory sufficed for"
    assert reranker.fingerprint == build.reranker_fingerprint(str(tmp_path / "one"))

    sentence_transformers.CrossEncoder(str(tiny_embedder), num_labels=3, device="cpu", local_files_only=True).save_pretrained(
        str(tmp_path / "three")
    )
    with pytest.raises(ModelError, match="3 classes"):
        build.reranker(str(tmp_path / "three"), "cpu")


def test_a_rerankers_score_is_weighed_against_what_a_chunk_was_found_with(corpus):
    # Both scores fall or rise evenly, so the larger share decides, and chunks behind those that were read come after them.
    for weight, expected in ((0.3, [1, 2, 3, 4, 5]), (0.7, [4, 3, 2, 1, 5]), (1.0, [4, 3, 2, 1, 5])):
        (hits,) = RerankingRetriever(Fixed(corpus), LastFirst(), 4, weight).retrieve(["?"], 5)
        assert [int(hit.chunk.id[1:]) for hit in hits] == expected
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    (hits,) = RerankingRetriever(Fixed(corpus), LastFirst(), 4, 0.3).retrieve(["?"], 4)
    # z-scores of four even steps are ±1.341641 and ±0.447214; they oppose each other, so .7 − .3 of them is left.
    assert [hit.score for hit in hits] == pytest.approx([0.536656, 0.178885, -0.178885, -0.536656], abs=1e-6)
