"""Before money is spent: what it is spent on is said, somebody agrees, and models that will soon be gone are named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ragtune import build
from ragtune.config import Settings
from ragtune.errors import ConsentError
from ragtune.hosted.providers import is_hosted
from ragtune.models.hosted import warn
from ragtune.progress import Progress
from ragtune.types import Message, Usage
from ragtune.workspace import Workspace

Confirm = Callable[[str], bool]
"""Is told what will be done and what it costs, and says whether to spend it."""

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Bill:
    """What a model will be asked, and about what that costs.

    Args:
        what: is done, in words.
        model: ``provider:model``.
        tokens: of the prompts.
        dollars: US dollars; ``None`` where no price is known.
    """

    what: str
    model: str
    tokens: int
    dollars: float | None

    @property
    def sentence(self) -> str:
        """In words."""
        return f"{self.model} {self.what}, about {self.tokens:,} tokens, {said(self.dollars)}"


def estimate(workspace: Workspace, settings: Settings, name: str, what: str, calls: int, usage: Usage) -> Bill:
    """A bill for calls of about the same length, which together take so many tokens; some models charge more for long ones.

    Raises:
        ConfigError: a cap is set, and no price is known to keep to it.
    """
    price = build.price(workspace, settings, name) if calls else lambda _: 0.0
    each = Usage(-(-usage.prompt_tokens // max(1, calls)), -(-usage.completion_tokens // max(1, calls)))
    return Bill(what, name, usage.prompt_tokens, None if price is None else calls * price(each))


def prompt_tokens(prompts: Iterable[Sequence[Message]]) -> int:
    """About how many tokens prompts are."""
    return sum(len(message.content.encode()) for prompt in prompts for message in prompt) // BYTES_PER_TOKEN


def said(dollars: float | None) -> str:
    """A price in words."""
    if dollars is None:
        return "at a price that is not known"
    return f"for about ${dollars:,.2f}" if dollars >= 1 or not dollars else f"for about ${max(dollars, 1e-4):.4f}"


def agree_to(bills: Sequence[Bill], settings: Settings, *, yes: bool, confirm: Confirm | None, progress: Progress) -> None:
    """Go on where nothing is charged, or somebody agrees to it.

    Raises:
        ConsentError: nobody does.
    """
    warn_of([bill.model for bill in bills], progress)
    paid = [bill for bill in bills if bill.dollars != 0]
    if paid:
        kept = f"what was answered before costs nothing again; chat.max_cost (${settings.chat.max_cost:g}) is never passed"
        agree("; ".join([*(bill.sentence for bill in paid), kept]), yes=yes, confirm=confirm, progress=progress)


def agree(plan: str, *, yes: bool, confirm: Confirm | None, progress: Progress) -> None:
    """Go on where somebody agrees to what something costs.

    Args:
        plan: what will be done and what it costs.
        yes: it was agreed to beforehand: it is only said.
        confirm: asked else; ``None`` is no.
        progress: told the plan.

    Raises:
        ConsentError: nobody agrees.
    """
    if yes:
        progress.note(plan)
    elif confirm is None:
        raise ConsentError(f"{'; '.join(plan.splitlines())}. Nothing of it was spent: say --yes to spend it")
    elif not confirm(plan):
        raise ConsentError(f"nothing was spent on this ({'; '.join(plan.splitlines())}): run it again and agree, or say --yes")


def warn_of(names: Iterable[str], progress: Progress) -> None:
    """Say of hosted models that they are gone or soon will be."""
    for name in dict.fromkeys(names):
        if is_hosted(name):
            for sentence in warn(name, datetime.now(UTC).date()):
                progress.note(sentence)
