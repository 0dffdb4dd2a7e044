"""THE prompt: question and passages to messages and token ids. Trained on, scored with and served with: these functions and no others.

A prompt is *context* then *branch*: the context (instruction, passages) is shared by every question asked of the same passages; the
branch is the question, what was said before it, the sentences of the passages that match it best, and the start of the assistant's
turn. The seam lies after a single newline, so that ``ids(context) + ids(branch) == ids(context + branch)`` for byte-pair tokenizers that
merge newlines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from ragtune.conversation import history_lines, search_text
from ragtune.errors import ModelError
from ragtune.highlights import find_highlights
from ragtune.types import Message, Passage

PROMPT_VERSION = 2
"""Part of every dataset's and model's key: change it with any change of the words below."""

WITH_PASSAGES = (
    "Answer the question from the passages. First copy, in double quotes, the words of a passage that hold the answer. "
    "Then write on a new line 'Answer:' and the shortest answer. "
    "If the passages do not hold the answer, write only: Answer: not in the passages"
)
FROM_MEMORY = "Answer the question from memory. Write 'Answer:' and the shortest answer. If you do not know it, guess."
ABSTENTION = "not in the passages"
ANSWER_MARK = "Answer:"
QUESTION_MARK = "Question:"
HIGHLIGHTS_MARK = "Closest sentences:"
HISTORY_MARK = "Asked after:"

_ANSWER = re.compile(re.escape(ANSWER_MARK))
_QUOTED = re.compile(r'(?m)^[ \t]*["“][^"“”\n]*["”]')
_DAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The day that Llama 3.2's template names where it cannot know."""
_CODES = "".join(f"|replace('%{code}', '{_DAY.strftime(f'%{code}')}')" for code in ("-d", "-m", *"aAbBcdFHIjmMpSTuwxXyY"))
_TODAY = f"{{% macro strftime_now(format) %}}{{{{ format{_CODES} }}}}{{% endmacro %}}"
"""What takes the place of the clock of templates that ask it, in Jinja, since a template is passed no function."""
_CONTROL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
"""How tokens look that mean something to a model; a tokenizer's other added tokens (runs of spaces, say) are plain text."""
_ABSTAINED = re.compile(
    r"^\W*(?:not (?:in|found in|given in|stated in|mentioned in) (?:the|these|any) passages?|the passages? (?:do|does) not\b"
    r"|(?:i )?(?:do not|don't) know\b|unanswerable\b|no answer\b|not (?:mentioned|stated|specified|provided)\b)",
    re.IGNORECASE,
)


class Tokenizer(Protocol):
    """What of a Hugging Face tokenizer is used here."""

    eos_token: str | None
    chat_template: Any
    all_special_tokens: list[str]

    def __hash__(self) -> int:
        """By identity: what is known of a tokenizer is remembered."""

    def get_added_vocab(self) -> dict[str, int]:
        """Tokens beside the vocabulary, with their ids."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """Render messages with the model's chat template."""

    def encode(self, text: str, **options: Any) -> list[int]:
        """Text to token ids."""


@dataclass(frozen=True, slots=True)
class PromptIds:
    """Token ids of a prompt in its two parts; the model is fed ``context + branch``.

    Args:
        context: instruction, worked examples and passages.
        branch: the question with its highlights and the start of the assistant's turn.
        prefix: how many ids of the context come before the last turn: instruction and worked examples, which many prompts share.
    """

    context: tuple[int, ...]
    branch: tuple[int, ...]
    prefix: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole prompt."""
        return self.context + self.branch


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A model's text taken apart: the final answer alone, the quotes, and whether it abstained."""

    answer: str
    quotes: tuple[str, ...]
    abstained: bool


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example for the few-shot arm."""

    question: str
    passages: tuple[Passage, ...]
    completion: str


def format_passages(passages: Sequence[Passage]) -> str:
    """Passages numbered from 1, each under its heading line; ends in exactly one newline."""
    blocks = [f"{head}\n{text}" for head, text in passage_parts(passages)]
    return "\n\n".join(blocks).rstrip() + "\n"


def passage_parts(passages: Sequence[Passage]) -> list[tuple[str, str]]:
    """Number with heading lines, and text, of each passage as a prompt shows them."""
    return [(f"[{number}] {each.prefix}".rstrip(), each.text.strip()) for number, each in enumerate(passages, start=1)]


def build_messages(
    question: str, passages: Sequence[Passage] | None, shots: Sequence[Shot] = (), history: Sequence[Message] = ()
) -> list[Message]:
    """The chat for a question.

    Args:
        question: as asked.
        passages: in the order shown; ``None`` asks from memory (closed-book), an empty sequence shows none.
        shots: worked examples, as earlier turns.
        history: what was said before the question; shown beside it, so that questions of one context share its ids.
    """
    messages = [Message("system", FROM_MEMORY if passages is None else WITH_PASSAGES)]
    for shot in shots:
        messages.append(Message("user", _user(shot.question, None if passages is None else shot.passages)))
        completion = shot.completion if passages is not None else _last_line(shot.completion)
        messages.append(Message("assistant", completion))
    messages.append(Message("user", _user(question, passages, history)))
    return messages


def read_prompt(messages: Sequence[Message]) -> tuple[str, list[Message]] | None:
    """The question and the history of a chat that :func:`build_messages` made, as one line each; ``None`` of any other chat."""
    if not messages or messages[0].content not in (WITH_PASSAGES, FROM_MEMORY) or messages[-1].role != "user":
        return None
    asked, *rest = _branch(messages[-1].content).split("\n")
    if not asked.startswith(QUESTION_MARK):
        return None
    history = []
    if rest and rest[0] == HISTORY_MARK:
        for line in rest[1 : rest.index(HIGHLIGHTS_MARK) if HIGHLIGHTS_MARK in rest else None]:
            role, _, said = line.removeprefix("- ").partition(": ")
            history.append(Message("assistant" if role == "assistant" else "user", said))
    return asked.removeprefix(QUESTION_MARK).strip(), history


def build_completion(answer: str | None, quotes: Sequence[str] = (), reasoning: str | None = None) -> str:
    """What the model learns to write: each quote on a line of its own, the reasoning if any on one, then the answer; ``None`` abstains.

    Quotation marks in a reasoning are left out: what stands in them would count as a quote.
    """
    if answer is None:
        return f"{ANSWER_MARK} {ABSTENTION}"
    lines = [f'"{quote.strip()}"' for quote in quotes]
    if reasoning and reasoning.strip():
        lines.append(" ".join(re.sub(r"[\"“”]", "", reasoning).replace(ANSWER_MARK, "Answer").split()))
    return "\n".join([*lines, f"{ANSWER_MARK} {answer.strip()}"])


def parse_answer(raw: str) -> ParsedAnswer:
    """Take what a model wrote apart: quotes before the first answer mark, the answer after the last; without one all is the answer."""
    # A mark inside of a quote is the document's, not the model's.
    marks = list(_ANSWER.finditer(_QUOTED.sub(lambda match: " " * len(match[0]), raw)))
    if marks:
        head, tail = raw[: marks[0].start()], raw[marks[-1].end() :]
        answer = tail.strip().splitlines()[0].strip() if tail.strip() else ""
        quotes = _quotes(head)
    else:
        answer = raw.strip()
        quotes = _quotes(raw)
    answer = answer.strip("*` ")
    return ParsedAnswer(answer=answer, quotes=quotes, abstained=bool(_ABSTAINED.match(answer)))


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> PromptIds:
    """Token ids of the context and the branch of a chat, rendered with the model's own template.

    Raises:
        ModelError: the model has no template for such a chat, or one that does not show the last user message as it is.
    """
    defused = [Message(message.role, defuse(tokenizer, message.content)) for message in messages]
    rendered = render(tokenizer, defused, ask=True)
    branch = _branch(defused[-1].content)
    at = rendered.rfind(branch)
    if at < 0:
        raise ModelError(
            "the model's chat template changes the user's message, so that the question is not found in it: choose another model, or set "
            "model.chat_template"
        )
    turns = render(tokenizer, defused[:-1]) if len(messages) > 1 else ""
    if not rendered[:at].startswith(turns):
        turns = ""  # a template that writes earlier turns otherwise once another follows: nothing is known to be shared
    prefix = tokenizer.encode(turns, add_special_tokens=False) if turns else []
    context = prefix + tokenizer.encode(rendered[len(turns) : at], add_special_tokens=False)
    return PromptIds(tuple(context), tuple(tokenizer.encode(rendered[at:], add_special_tokens=False)), len(prefix))


def encode_completion(tokenizer: Tokenizer, completion: str) -> tuple[int, ...]:
    """Token ids of a completion with the template's end of turn, which the model must learn to write."""
    return tuple(tokenizer.encode(defuse(tokenizer, completion) + end_of_turn(tokenizer), add_special_tokens=False))


def end_of_turn(tokenizer: Tokenizer) -> str:
    """The text with which the chat template closes the assistant's turn, e.g. ``<|im_end|>``."""
    probe = "ragtune probe"
    rendered = render(tokenizer, [Message("user", "x"), Message("assistant", probe)])
    tail = rendered[rendered.rfind(probe) + len(probe) :].strip()
    controls = _controls(tokenizer)
    first = controls.match(tail) if controls else None
    return first[0] if first else tail or tokenizer.eos_token or ""  # what a template writes after it ends the chat, not the turn


def chat_opening(tokenizer: Tokenizer) -> str:
    """What the chat template writes before a user's first words."""
    probe = "ragtune probe"
    rendered = render(tokenizer, [Message("user", probe)])
    return rendered[: rendered.find(probe)]


def _user(question: str, passages: Sequence[Passage] | None, history: Sequence[Message] = ()) -> str:
    """The question is one line, whatever was asked, and so is all that follows: the last line that starts with the mark is the seam."""
    context = "" if passages is None else format_passages(passages) if passages else "(no passages)\n"
    lines = [f"{QUESTION_MARK} {' '.join(question.split())}".rstrip()]
    if history:
        lines += [HISTORY_MARK, *history_lines(history)]
    highlights = find_highlights(search_text(question, history), passages or ())
    if highlights:
        lines += [HIGHLIGHTS_MARK, *(f"- {highlight}" for highlight in highlights)]
    return context + "\n".join(lines)


def _branch(content: str) -> str:
    return content[content.rfind(f"\n{QUESTION_MARK}") + 1 :]


def _last_line(completion: str) -> str:
    return completion.rstrip().splitlines()[-1]


def _quotes(text: str) -> tuple[str, ...]:
    quotes = []
    for line in text.splitlines():
        first = re.search(r"[\"“]", line)
        if first is None:
            continue
        last = max(line.rfind('"'), line.rfind("”"))
        quote = line[first.end() : last] if last > first.start() else line[first.end() :]
        if quote.strip():
            quotes.append(quote.strip())
    return tuple(quotes)


def render(tokenizer: Tokenizer, messages: Sequence[Message], *, ask: bool = False) -> str:
    """The chat as the model's template writes it; ``ask`` begins the assistant's turn. Models that think first are told not to.

    Templates that tell the model today's date are always given the same one, so that a prompt has the same token ids on every day.

    Raises:
        ModelError: the template fails.
    """
    try:
        return _apply(tokenizer, messages, ask)
    except Exception as error:
        if not type(error).__module__.startswith("jinja2"):
            raise
        if messages[0].role != "system":
            raise ModelError(f"the model's chat template fails ({error}): choose another model, or set model.chat_template") from error
    # Some templates know no system turn: then the instruction opens the user's.
    system, rest = messages[0], messages[1:]
    first = rest[0].content if rest else ""
    return render(tokenizer, [Message("user", f"{system.content}\n\n{first}".rstrip()), *rest[1:]], ask=ask)


def _apply(tokenizer: Tokenizer, messages: Sequence[Message], ask: bool) -> str:
    conversation = [{"role": message.role, "content": message.content} for message in messages]
    template = tokenizer.chat_template
    pinned = {"chat_template": _TODAY + template} if isinstance(template, str) and "strftime_now" in template else {}
    rendered: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask, enable_thinking=False, **pinned)
    return rendered


def defuse(tokenizer: Tokenizer, text: str) -> str:
    """Text in which no document can end a turn or open another: an invisible character parts what the tokenizer would take for control.

    :mod:`ragtune.quotes` passes over that character, so quotes are still found.
    """
    pattern = _controls(tokenizer)
    return pattern.sub(lambda match: f"{match[0][0]}\u200b{match[0][1:]}", text) if pattern else text


@lru_cache(maxsize=8)
def _controls(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    tokens = {*tokenizer.all_special_tokens, *filter(_CONTROL.fullmatch, tokenizer.get_added_vocab())}
    return re.compile("|".join(sorted(map(re.escape, tokens), key=len, reverse=True))) if tokens else None
