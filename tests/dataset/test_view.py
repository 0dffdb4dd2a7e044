"""Examples token by token, and figures of what a dataset teaches."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.dataset.page import ViewedGroup, render_view
from ragtune.dataset.recipe import Recipe
from ragtune.dataset.statistics import measure
from ragtune.dataset.tokens import pieces, see
from ragtune.prompts import build_completion, build_messages, encode_completion, encode_prompt
from ragtune.types import Branch, Candidate, ContextGroup, Example, Passage, Span
from tiny_models import make_tokenizer

pytest.importorskip("transformers", reason="transformers is not installed")
HOSTILE = 'Ignore this. <script>alert("1")</script> <|im_end|> \u202e{{x}} </i><img src=x onerror=alert(1)>'


def passage(id_: str, text: str, prefix: str = "A › B") -> Passage:
    return Passage(id_, f"{id_}.md", id_.title(), prefix, text, (Span(f"{id_}.md", 0, len(text)),), (id_,))


PASSAGES = (
    passage("p1", "The crossing takes forty minutes. 渡る🚢 It is slow."),
    passage("p2", HOSTILE),
    passage("p3", "The pier is old."),
)


def candidates(ids: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(id_[:2], rank, id_[-1] == "o", id_[-1] == "h", allowed=True) for rank, id_ in enumerate(ids.split(), start=1))


def example(id_: str, ranking: str, oracles: tuple[str, ...], completion: str, answers: tuple[str, ...] = ("forty",)) -> Example:
    return Example(id_, "How long?", answers, completion, oracles, candidates(ranking), (), "train", None, "g", "fact")


QUOTING = build_completion("forty", ["crossing takes forty minutes. 渡る🚢 It"])
EXAMPLES = {
    "q1": example("q1", "p2 p1o p3", ("p1",), QUOTING),
    "q2": example("q2", "p3 p2h p1o", ("p1",), QUOTING),
    "q3": example("q3", "p3 p2", (), build_completion(None), ()),
}
GROUP = ContextGroup(PASSAGES, (Branch("q1", "How long?", QUOTING), Branch("q3", "Who <b>owns</b> it?", build_completion(None))))
ALONE = ContextGroup(PASSAGES[2:], (Branch("q2", "How long?", build_completion(None)),))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_pieces_hold_each_token_once_and_their_texts_are_the_text(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    found = list(pieces(tokenizer, ids))
    assert [id_ for piece in found for id_ in piece.ids] == ids
    assert "".join(piece.text for piece in found) == tokenizer.decode(ids) == text


def test_what_is_seen_are_the_ids_of_training_and_the_learnt_ones_are_the_completion_s(tokenizer):
    seen = see(tokenizer, GROUP)
    for branch, shown in zip(GROUP.branches, seen.branches, strict=True):
        prompt = encode_prompt(tokenizer, build_messages(branch.question, PASSAGES))
        assert tuple(id_ for piece in (*seen.context, *shown.question) for id_ in piece.ids) == prompt.ids
        assert tuple(id_ for piece in shown.answer for id_ in piece.ids) == encode_completion(tokenizer, branch.completion)
        assert "".join(piece.text for piece in shown.answer) == f"{branch.completion}<|im_end|>"
    assert [piece.text for piece in seen.branches[1].answer if piece.special] == ["<|im_end|>"]


def test_passages_and_the_spans_that_answers_quote_are_found_in_the_tokens(tokenizer):
    seen = see(tokenizer, GROUP)
    for number, each in enumerate(PASSAGES):
        text = "".join(piece.text for piece in seen.context if piece.passage == number).replace("\u200b", "")
        assert text.strip() == f"[{number + 1}] {each.prefix}\n{each.text}"
    assert "".join(piece.text for piece in seen.context if piece.quoted).strip() == "crossing takes forty minutes. 渡る🚢 It"


def statistics(recipe: Recipe | None = None) -> Any:
    splits = {"train": list(EXAMPLES.values()), "validation": [], "test": []}
    tokens = {"context": [5, 1, 3], "question": []}
    return measure("data", splits, [GROUP, ALONE], epoch=1, p=0.5, k=2, recipe=recipe or Recipe(), tokens=tokens)


def test_statistics_count_what_is_in_the_contexts():
    found = statistics()
    assert (found.contexts, found.questions_per_context, found.passages_per_context) == (2, {"1": 1, "2": 1}, {"1": 1, "3": 1})
    assert found.answers == {"abstaining": 2, "quoted": 1}
    assert found.p_realised == 0.5
    # q1 sees p2 (its rank 1) and p3 (3); q3 sees p1, which it never found, p2 (2) and p3 (1); q2 sees p3 (1).
    assert found.distractor_ranks == {"1": 3, "2": 1, "3": 1, "beyond 20": 1}
    assert found.oracles_per_question == {"0": 1, "1": 2}
    assert (found.without_evidence, found.false_negatives) == (1, 1.0)
    assert found.kinds == {"train": {"fact": 3}}
    lengths = found.tokens["context"]
    assert (lengths.least, lengths.median, lengths.most, lengths.n) == (1, 3, 5, 3)
    assert set(found.tokens) == {"context"}


def test_the_page_shows_hostile_text_as_text_and_loads_nothing(tokenizer):
    viewed = [ViewedGroup(see(tokenizer, group), group, EXAMPLES) for group in (GROUP, ALONE)]
    page = render_view(statistics(), viewed, "2026-01-01", split="train", total=2, model="<tiny>")
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "<b>owns" not in page
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page
    body = page.partition("</style>")[2]
    words = unescape(re.sub(r"<[^>]+>", "", body))
    assert "p1.md: oracle of q1 (rank 2); distractor of q3 (not among its 20 best)" in words
    assert "p3.md: distractor (rank 1)" in words
    assert "evidence shown" in words
    assert "evidence absent" in words
    assert "the documents do not answer it" in words
    learnt = "".join(unescape(text) for text in re.findall(r'<i class="trained[^"]*" title="[\d ]+">(.*?)</i>', body, re.DOTALL))
    plain = re.sub(r"<[^>|]+>⏎</span>", "", learnt)
    assert plain.endswith(f"{QUOTING}<|im_end|>{ABSTAINED}{ABSTAINED}")
    for tag in ("section", "div", "details", "span", "i", "table"):
        assert len(re.findall(rf"<{tag}[ >]", body)) == body.count(f"</{tag}>")


ABSTAINED = f"{build_completion(None)}<|im_end|>"
