"""What a model writes, as Markdown that can be sent while it writes: nothing that was sent is ever taken back.

A quote is sent when its line is whole and it was looked up in the passages; the answer from when it is sure that it is none of the ways to
say that the passages do not hold it. Text before the answer's mark that is no quote is a paragraph. Where a model marks a second answer,
that is a paragraph of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragtune.prompts import ANSWER_MARK, parse_answer
from ragtune.quotes import check_quote
from ragtune.rag import UNQUOTED, Answer, Citation, show_citation
from ragtune.types import Passage

NO_ANSWER = "The model gave no answer."
_SURE = 40
"""Letters after which an answer is no abstention: the longest way to abstain is shorter."""
_TRIM = "*` \t\n"
_OPENING = re.compile(r"[ \t]*[\"“][^\"“”\n]*([\"”])?")
_PARTS = tuple(ANSWER_MARK[:length] for length in range(len(ANSWER_MARK) - 1, 0, -1))


class MarkdownStream:
    """Takes what a model writes piece by piece and gives the Markdown for it.

    Args:
        passages: that the model was shown.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._numbers = {passage.id: number for number, passage in enumerate(passages, start=1)}
        self._held = ""  # written and not yet sent
        self._marked = self._over = False  # the answer began; its line ended
        self._bold = ""  # the answer as sent
        self._cited: set[int] = set()
        self._sent = False

    def feed(self, piece: str) -> str:
        """The Markdown that can be sent now; often none."""
        self._held += piece
        made = ""
        while not self._marked:
            line, newline, rest = self._held.partition("\n")
            at = _mark(line, whole=bool(newline))
            if at >= 0:
                made += self._line(line[:at])
                self._held = self._held[at + len(ANSWER_MARK) :]
                self._marked = True
            elif newline:
                made += self._line(line)
                self._held = rest
            else:
                return made
        return made if self._over else made + self._answer()

    def end(self, answer: Answer) -> str:
        """The rest, when the model is finished."""
        if answer.abstained or not answer.raw.strip():
            return self._close() + self._block(answer.markdown)
        made = ""
        if not self._marked and (at := _mark(self._held, whole=True)) >= 0:  # in a quote that nobody closed it was the model's
            made += self._line(self._held[:at])
            self._held, self._marked = self._held[at + len(ANSWER_MARK) :], True
        if not self._marked:
            alone = not self._sent and self._quote(self._held) is None
            made += self._begin(self._held) if alone else self._line(self._held)
        elif not self._over:
            made += self._more(_ended(self._held)) if self._bold else self._begin(_last(self._held))
        if not answer.answer:
            made += self._block(NO_ANSWER)
        elif self._marked and _plain(self._bold) != _plain(answer.answer):
            made += self._close() + self._begin(answer.answer)
        found = [citation for citation in answer.citations if citation.quote.found]
        self._cited.update(citation.number for citation in found)
        made += self._close()
        for citation in found:
            made += self._block(show_citation(citation))
        return made if answer.citations or answer.unsupported or not answer.answer else made + self._block(UNQUOTED)

    def _line(self, line: str) -> str:
        """A whole line before the answer."""
        quote = self._quote(line)
        if quote is not None:
            closed = max(line.rfind('"'), line.rfind("”"))
            behind = line[closed + 1 :].strip(_TRIM) if closed > line.find(quote) else ""
            return self._block(self._shown(quote)) + (self._block(behind) if re.search(r"\w", behind) else "")
        if not line.strip() or (not self._sent and parse_answer(line).abstained):  # the end tells whether that was all
            return ""
        return self._block(line.strip())

    def _quote(self, line: str) -> str | None:
        """What is quoted in a line that begins with a quote."""
        if not line.lstrip().startswith(('"', "“")):
            return None
        return next(iter(parse_answer(f"{line}\n{ANSWER_MARK} x").quotes), None)

    def _shown(self, text: str) -> str:
        quote = check_quote(text, self._passages)
        if not quote.valid or quote.passage is None:
            return f"> ~~{' '.join(text.split())}~~\n> — not found word for word in any passage shown"
        number = self._numbers[quote.passage]
        self._cited.add(number)
        return show_citation(Citation(number, quote, self._passages[number - 1].title))

    def _answer(self) -> str:
        """What can be sent of the answer, of which no more than a line counts."""
        text = self._held if self._bold else _last(self._held.lstrip(_TRIM))
        line, newline, _ = text.partition("\n")
        if newline:
            self._over = True
            if self._bold:
                return self._more(_ended(line))
            return "" if parse_answer(line).abstained else self._begin(line)
        if not self._bold and (len(line) < _SURE or parse_answer(line).abstained):
            return ""
        sure = _ended(line, more=True)
        self._held = line[len(sure) :]
        return self._more(sure) if self._bold else self._begin(sure)

    def _begin(self, text: str) -> str:
        self._bold = text.strip(_TRIM)
        return self._block(f"**{self._bold}") if self._bold else ""

    def _more(self, text: str) -> str:
        self._bold += text
        return text

    def _close(self) -> str:
        if not self._bold:
            return ""
        marks = "".join(f"[{number}]" for number in sorted(self._cited))
        return f"**{f' {marks}' if marks else ''}"

    def _block(self, text: str) -> str:
        before, self._sent = "\n\n" if self._sent else "", True
        return before + text


def _mark(line: str, *, whole: bool) -> int:
    """Where the answer's mark stands in a line, -1 where in none. In a quote that opens the line it would be the document's."""
    opening = _OPENING.match(line)
    if opening and not opening[1] and not whole:
        return -1
    return line.find(ANSWER_MARK, opening.end() if opening and opening[1] else 0)


def _last(text: str) -> str:
    """From the last mark of the first line on."""
    line, newline, rest = text.partition("\n")
    return line.rpartition(ANSWER_MARK)[2].lstrip(_TRIM) + newline + rest


def _ended(text: str, *, more: bool = False) -> str:
    """Text without what stands at the end of an answer and is none of it; where more may come, without the beginning of a mark too."""
    part = next((part for part in _PARTS if text.endswith(part)), "") if more else ""
    return text.removesuffix(part).rstrip(_TRIM)


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(_TRIM)
