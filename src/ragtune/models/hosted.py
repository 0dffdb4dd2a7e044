"""Hosted models worth knowing before money is spent: what each is for, until when it can be tuned, and when it is shut down.

A model that is not here may be named all the same; ragtune then knows no dates of it. Prices of calls are in
:mod:`ragtune.models.prices`. Dates are those of the vendors' own pages, read in November 2026:

- OpenAI, "Deprecations", with its section "Update to OpenAI's self-serve fine-tuning" (notices of 2026-05-07 and 2026-10-14);
- Google, "Gemini deprecations" (Gemini API), and of the Agent Platform, as Vertex AI is called now, "Model versions and lifecycle" and
  "About supervised fine-tuning for Gemini models";
- DeepSeek, "Your First API Call" and its news of 2026-04-24.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

READ = date(2026, 11, 25)
"""The day on which the vendors' pages were read."""
SOON_DAYS = 183
"""A shutdown closer than this is worth a sentence."""

Use = Literal["chat", "embed", "tune"]


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model of a vendor.

    Args:
        id: ``provider:model``.
        uses: what it can be used for.
        context: longest input in tokens; ``None`` where it is not known.
        retires: the day from which it does not answer; ``None`` where none is announced. Tuned models go with their base.
        may_retire: ``retires`` is the earliest day, not an announced one.
        tune_until: the first day without new tuning jobs.
        training_price: US dollars for a million training tokens; ``None`` where it is not known.
        successor: what the vendor recommends instead.
        note: what else to know.
    """

    id: str
    uses: tuple[Use, ...]
    context: int | None = None
    retires: date | None = None
    may_retire: bool = False
    tune_until: date | None = None
    training_price: float | None = None
    successor: str | None = None
    note: str = ""


_CHAT: tuple[Use, ...] = ("chat",)
_TUNE: tuple[Use, ...] = ("chat", "tune")
_EMBED: tuple[Use, ...] = ("embed",)
_OPENAI_TUNES_UNTIL = date(2027, 1, 6)
_GPT_4_RETIRES = date(2027, 1, 14)
_GPT_5_RETIRES = date(2026, 12, 11)
_GEMINI_2_5_LEFT_VERTEX = date(2026, 10, 20)


def _gpt_4(name: str, context: int, training_price: float) -> HostedModel:
    """Training prices are those of OpenAI's page "Pricing" while it sold tuning to everyone."""
    return HostedModel(
        f"openai:{name}",
        _TUNE,
        context,
        _GPT_4_RETIRES,
        tune_until=_OPENAI_TUNES_UNTIL,
        training_price=training_price,
        successor="openai:gpt-6-luna",
        note="only organisations that tune already may start jobs",
    )


_ALL = (
    HostedModel("openai:gpt-6-luna", _CHAT, 1_050_000, note="cannot be tuned"),
    _gpt_4("gpt-4.1-2025-04-14", 1_047_576, 25.0),
    _gpt_4("gpt-4.1-mini-2025-04-14", 1_047_576, 5.0),
    _gpt_4("gpt-4o-2024-08-06", 128_000, 25.0),
    _gpt_4("gpt-4o-mini-2024-07-18", 128_000, 3.0),
    HostedModel("openai:gpt-4.1-nano", _CHAT, 1_047_576, date(2026, 10, 23), successor="openai:gpt-6-luna"),
    HostedModel("openai:gpt-5", _CHAT, 400_000, _GPT_5_RETIRES, successor="openai:gpt-6.1-sol"),
    HostedModel("openai:gpt-5-mini", _CHAT, 400_000, _GPT_5_RETIRES, successor="openai:gpt-6.1-terra"),
    HostedModel("openai:gpt-5-nano", _CHAT, 400_000, _GPT_5_RETIRES, successor="openai:gpt-6-luna"),
    HostedModel("openai:text-embedding-3-small", _EMBED, 8_191),
    HostedModel("openai:text-embedding-3-large", _EMBED, 8_191),
    HostedModel("deepseek:deepseek-flash", _CHAT, 1_000_000, note="no tuning; thinks unless told not to"),
    HostedModel("deepseek:deepseek-v4-pro", _CHAT, 1_000_000, note="no tuning; answered by deepseek-flash since 2026-09-14"),
    HostedModel("deepseek:deepseek-chat", _CHAT, None, date(2026, 7, 24), successor="deepseek:deepseek-flash"),
    HostedModel("deepseek:deepseek-reasoner", _CHAT, None, date(2026, 7, 24), successor="deepseek:deepseek-flash"),
    HostedModel("gemini:gemini-3.8-flash", _CHAT, 1_048_576),
    HostedModel("gemini:gemini-3.5-flash-lite", _CHAT, 1_048_576),
    HostedModel("gemini:gemini-2.5-flash", _CHAT, 1_048_576, date(2026, 12, 1), successor="gemini:gemini-3.5-flash-lite"),
    HostedModel("gemini:gemini-2.5-pro", _CHAT, 1_048_576, date(2026, 12, 1), successor="gemini:gemini-3.8-flash"),
    HostedModel("gemini:gemini-embedding-001", _EMBED, 2_048),
    HostedModel("vertex:gemini-3.5-flash", _TUNE, 1_048_576, date(2027, 5, 19), may_retire=True),
    HostedModel("vertex:gemini-3.5-flash-lite", _TUNE, 1_048_576, date(2027, 7, 21), may_retire=True),
    HostedModel("vertex:gemini-3.1-flash-lite", _TUNE, 1_048_576, date(2027, 5, 7), may_retire=True),
    HostedModel("vertex:gemini-2.5-flash", _CHAT, 1_048_576, _GEMINI_2_5_LEFT_VERTEX, successor="vertex:gemini-3.5-flash-lite"),
    HostedModel("vertex:gemini-2.5-flash-lite", _CHAT, 1_048_576, _GEMINI_2_5_LEFT_VERTEX, successor="vertex:gemini-3.1-flash-lite"),
    HostedModel("vertex:gemini-2.5-pro", _CHAT, 1_048_576, _GEMINI_2_5_LEFT_VERTEX, successor="vertex:gemini-3.5-flash"),
)
HOSTED: dict[str, HostedModel] = {model.id: model for model in _ALL}


def find_hosted(name: str) -> HostedModel | None:
    """What is known of ``provider:model``; of a model tuned by OpenAI (``openai:ft:base:…``) what is known of its base."""
    provider, _, model = name.partition(":")
    if model.startswith("ft:"):
        model = model.split(":")[1]
    return HOSTED.get(f"{provider}:{model}")


def warn(name: str, today: date, *, tune: bool = False) -> list[str]:
    """The sentences that a user must read before money is spent on a model.

    Args:
        name: ``provider:model``; of an unknown one nothing is said, unless it is to be tuned.
        today: the day of the question.
        tune: it is to be tuned, not only asked.
    """
    model = find_hosted(name)
    if model is None:
        return [f"{name} is not in ragtune's list: whether it can be tuned, and for how long, only its vendor says"] if tune else []
    said = []
    instead = f"; {model.successor} is to take its place" if model.successor else ""
    if model.retires is not None and model.retires <= today and not model.may_retire:
        said.append(f"{name} was shut down on {model.retires}{instead}")
    elif model.retires is not None and (model.retires - today).days <= SOON_DAYS:
        days = max(0, (model.retires - today).days)
        may = "may be" if model.may_retire else "is"
        tuned = ", and every model tuned from it too" if "tune" in model.uses or tune else ""
        said.append(f"{name} {may} shut down on {model.retires}, in {days} days{tuned}{instead}")
    if tune and "tune" not in model.uses:
        said.append(f"{name} cannot be tuned, as far as ragtune knows")
    elif tune and model.tune_until is not None:
        ends = "ended" if model.tune_until <= today else "end"
        note = f"; {model.note}" if model.note and model.tune_until > today else ""
        said.append(f"new tuning jobs on {name} {ends} on {model.tune_until}{note}")
    return said
