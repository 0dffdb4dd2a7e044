"""A training sequence token by token: what each token reads, whether it has a loss, and which passage and quote it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragtune.prompts import build_messages, defuse, encode_completion, encode_prompt, parse_answer, passage_parts
from ragtune.quotes import find_span
from ragtune.types import ContextGroup

_LONGEST_CHARACTER = 12  # tokens; of a byte-level tokenizer four, and joined marks may need more


@dataclass(frozen=True, slots=True)
class Piece:
    """One token, or a few that write one character together.

    Args:
        text: as decoded.
        ids: of the tokens.
        special: they mean something to the model, as the end of a turn does.
        passage: number of the passage that it is part of, from 0.
        quoted: it is part of a span that an answer quotes.
    """

    text: str
    ids: tuple[int, ...]
    special: bool = False
    passage: int | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class SeenBranch:
    """One question's tokens, without a loss, and its answer's, which alone have one."""

    id: str
    question: tuple[Piece, ...]
    answer: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class SeenGroup:
    """What is trained as one sequence: the context's tokens, then each branch's."""

    context: tuple[Piece, ...]
    branches: tuple[SeenBranch, ...]


def see(tokenizer: Any, group: ContextGroup) -> SeenGroup:
    """A group as the model is fed it: the very ids of training."""
    context: tuple[int, ...] = ()
    branches = []
    for branch in group.branches:
        prompt = encode_prompt(tokenizer, build_messages(branch.question, group.passages, history=branch.history))
        context = prompt.context
        answer = encode_completion(tokenizer, branch.completion)
        branches.append(SeenBranch(branch.id, tuple(pieces(tokenizer, prompt.branch)), tuple(pieces(tokenizer, answer))))
    return SeenGroup(tuple(_marked(tokenizer, tuple(pieces(tokenizer, context)), group)), tuple(branches))


def pieces(tokenizer: Any, ids: Sequence[int]) -> Iterator[Piece]:
    """The tokens with their text; joined, the texts are the text of all ids."""
    special = set(tokenizer.all_special_ids)
    before: list[int] = []  # a tokenizer may drop the space before a text's first token
    waiting: list[int] = []
    for id_ in ids:
        waiting.append(id_)
        lead = _decode(tokenizer, before)
        text = _decode(tokenizer, [*before, *waiting])[len(lead) :]
        if text.endswith("\ufffd") and len(waiting) < _LONGEST_CHARACTER:
            continue
        yield Piece(text, tuple(waiting), special=id_ in special)
        before, waiting = waiting, []
    if waiting:
        lead = _decode(tokenizer, before)
        yield Piece(_decode(tokenizer, [*before, *waiting])[len(lead) :], tuple(waiting))


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _marked(tokenizer: Any, context: Sequence[Piece], group: ContextGroup) -> Iterator[Piece]:
    text = "".join(piece.text for piece in context)
    passages, quotes = _places(tokenizer, text, group)
    at = 0
    for piece in context:
        first, last = at, at + len(piece.text)
        at = last
        within = next((number for number, (start, end) in enumerate(passages) if start < last and first < end), None)
        quoted = any(start < last and first < end for start, end in quotes)
        yield Piece(piece.text, piece.ids, piece.special, within, quoted)


def _places(tokenizer: Any, text: str, group: ContextGroup) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where each passage stands in the context's text, and each span that an answer quotes."""
    wanted = [quote for branch in group.branches for quote in parse_answer(branch.completion).quotes]
    passages, quotes = [], []
    at = 0
    for head, body in passage_parts(group.passages or ()):
        head, body = defuse(tokenizer, head), defuse(tokenizer, body)
        start = text.find(f"{head}\n{body}".rstrip(), at)
        if start < 0:
            passages.append((at, at))  # written otherwise by a tokenizer that normalises
            continue
        at = start + len(f"{head}\n{body}".rstrip())
        passages.append((start, at))
        for quote in wanted:
            span = find_span(quote, body)
            if span is not None:
                quotes.append((start + len(head) + 1 + span[0], start + len(head) + 1 + span[1]))
    return passages, quotes
