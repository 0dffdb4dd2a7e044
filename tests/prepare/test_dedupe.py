from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ragtune.prepare import Text, duplicates_among, near_pairs, sketch
from ragtune.prepare.dedupe import Duplicate
from ragtune.types import Document


def words(n: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [f"w{generator.randrange(5000)}" for _ in range(n)]


def document(source: str, text: list[str], media_type: str = "text/markdown") -> Document:
    return Document(source, source, " ".join(text), media_type)


def find_duplicates(documents: Sequence[Document], threshold: float = 0.9) -> list[Duplicate]:
    texts = [Text(each.source, each.media_type, each.text, sketch(each.text)) for each in documents]
    return duplicates_among(texts, {each.source: each.text for each in documents}.__getitem__, threshold)


def test_equal_texts_keep_the_one_that_sorts_first() -> None:
    text = words(200, 1)
    found = find_duplicates([document("c.md", text), document("a.md", text), document("b.md", words(200, 2))])
    assert [(each.source, each.kept, each.similarity) for each in found] == [("c.md", "a.md", 1.0)]
    assert found[0].reason == "same text as a.md"


def test_what_other_people_may_see_is_no_duplicate_and_is_kept_together_all_the_same() -> None:
    text = words(400, 3)
    texts = {"a.md": text, "b.md": text, "c.md": [*text, "z"], "d.md": ["short"], "e.md": ["short"], "f.md": text}
    staff, open_ = frozenset({"staff"}), frozenset[str]()
    access = {"a.md": staff, "b.md": open_, "c.md": open_, "d.md": staff, "e.md": open_, "f.md": staff}
    compared = [Text(name, "text/markdown", " ".join(own), sketch(" ".join(own)), access[name]) for name, own in texts.items()]
    found = duplicates_among(compared, lambda name: " ".join(texts[name]))
    assert [(each.source, each.kept) for each in found] == [("c.md", "b.md"), ("f.md", "a.md")]
    stay = [Document(name, name, " ".join(texts[name]), "text/markdown", {"access": list(access[name])}) for name in ("a.md", "b.md")]
    assert near_pairs(stay) == [("a.md", "b.md")]
    short = [Document(name, name, "short", "text/markdown", {"access": list(access[name])}) for name in ("d.md", "e.md")]
    assert near_pairs(short) == [("d.md", "e.md")], "equal ones, however short"


def test_a_file_of_its_own_is_kept_before_one_inside_another() -> None:
    text = " ".join(words(200, 1))
    names = {"a.zip/x.md": True, "b.zip/x.md": True, "z.md": False}
    found = duplicates_among([Text(name, "text/markdown", text, sketch(text), inside=inside) for name, inside in names.items()], str)
    assert [(each.source, each.kept) for each in found] == [("a.zip/x.md", "z.md"), ("b.zip/x.md", "z.md")]


def test_nearly_equal_texts_are_found_and_others_are_not() -> None:
    text = words(400, 3)
    edited = [*text[:200], "inserted", *text[200:]]
    half = text[:200] + words(200, 4)
    (found,) = find_duplicates([document("a.md", text), document("b.md", edited), document("c.md", half)])
    assert (found.source, found.kept) == ("b.md", "a.md")
    assert found.similarity == pytest.approx(392 / (396 + 397 - 392), abs=1e-9)
    assert "98% alike" in found.reason


def test_the_threshold_is_exact_on_planted_pairs() -> None:
    documents = []
    for i in range(60):
        text = words(300, 100 + i)
        other = list(text)
        for at in range(i % 12):
            other[at * 24 + 3] = "changed"
        documents += [document(f"{i:03}-a.md", text), document(f"{i:03}-b.md", other)]

    def jaccard(a: Document, b: Document) -> float:
        x, y = ({tuple(text[k : k + 5]) for k in range(len(text) - 4)} for text in (a.text.split(), b.text.split()))
        return len(x & y) / len(x | y)

    expected = {b.source for a, b in zip(documents[::2], documents[1::2], strict=True) if jaccard(a, b) >= 0.9}
    assert 5 < len(expected) < 50
    assert {each.source for each in find_duplicates(documents)} == expected


def test_the_order_of_reading_does_not_matter() -> None:
    base = words(300, 5)
    documents = [document(f"{i}.md", [*base[:i], "x", *base[i:]]) for i in range(0, 60, 5)] + [document("z.md", base)]
    expected = find_duplicates(documents)
    assert expected
    for seed in range(5):
        random.Random(seed).shuffle(documents)
        assert find_duplicates(documents) == expected


def test_rows_and_short_texts_are_duplicates_only_when_equal() -> None:
    row = words(300, 6)
    rows = [document("t.csv#1", row, "text/csv"), document("t.csv#2", [*row[:-1], "x"], "text/csv"), document("t.csv#3", row, "text/csv")]
    short = [document("a.md", row[:20]), document("b.md", row[:19])]
    assert [each.source for each in find_duplicates(rows + short)] == ["t.csv#3"]


def test_threshold_one_finds_equal_texts_only() -> None:
    text = words(400, 7)
    assert find_duplicates([document("a.md", text), document("b.md", [*text, "x"])], threshold=1.0) == []


def test_near_pairs_join_rows_and_what_was_not_dropped() -> None:
    text = words(400, 3)
    chain = [text, [*text[:200], "x", *text[200:]], [*text[:100], "y", *text[100:200], "x", *text[200:]]]
    rows = [document(f"a.jsonl#{n}", own, "application/jsonl") for n, own in enumerate(chain)]
    other = [document("b.md", words(400, 4)), document("c.md", [*words(400, 4), "z"]), document("d.md", words(400, 5))]
    short = [document(f"e.csv#{n}", ["the", "same"] * 15 + ["x"] * n, "text/csv") for n in range(2)]
    pairs = near_pairs([*rows, *other, *short], 1)
    assert len(pairs) == 3, "no more than it takes to join them"
    joined = {source for pair in pairs for source in pair}
    assert joined == {"a.jsonl#0", "a.jsonl#1", "a.jsonl#2", "b.md", "c.md"}
    assert ("b.md", "c.md") in pairs
    assert ("b.md", "c.md") in near_pairs([*rows, *other], 0.9), "a row may be near to a document"
    assert near_pairs(other[::2], 0.9) == []
    table = [document(f"t.csv#{n:02d}", [*text, str(n)], "text/csv") for n in range(40)]
    assert len(near_pairs(table)) == 39
