"""Which model for which need: what rules a model out, what speaks for it, and in which order to try what is left.

No benchmark of others decides here, for none was made on the user's documents. What is left is ordered plainly: what is likely too small or
retires soon last, free before paid, cheap before dear, larger before smaller. ``ragtune models choose --try`` measures the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

Task = Literal["answer", "tune", "teach", "judge"]
Privacy = Literal["any", "own-machine"]
TASKS: dict[Task, str] = {
    "answer": "answering from passages",
    "tune": "being tuned on the documents' questions",
    "teach": "writing questions",
    "judge": "grading answers",
}
_PROMPT_TOKENS, _ANSWER_TOKENS = 700, 60
"""Of one call with three passages, and of what comes back."""
_QUESTIONS, _EPOCHS = 500, 4
TRAINED_TOKENS = _QUESTIONS * _EPOCHS * (_PROMPT_TOKENS + _ANSWER_TOKENS)
"""That a tuning job is assumed to be charged for, as no dataset need be there yet."""
_BYTES = 2
_TUNING = 2.2
"""Memory that LoRA needs beyond the weights in bf16, as a factor: activations of a few contexts, adapters and their moments."""
_SMALLEST = {"answer": 0.1e9, "tune": 0.1e9, "teach": 3e9, "judge": 7e9}
"""Parameters below which an open model is seldom of use for a task that asks for judgement."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be chosen.

    Args:
        name: as ``model.base``, ``teacher.model`` and the like take it.
        hosted: answered by a vendor's server.
        parameters: of an open model.
        context: longest input in tokens.
        tunable: ragtune can tune it, on one's own machine or by a hosted job.
        call: US dollars of one call; 0 on one's own machine, ``None`` where no price is known.
        training: US dollars of tuning it on ``TRAINED_TOKENS``, the same way.
        retires: the day from which on it answers no more.
        may_retire: ``retires`` is the earliest day, not an announced one.
        tune_until: the first day without new tuning jobs.
        licence: of open weights.
        ready: it can be used now: its weights are here or can be fetched, its key is set.
        missing: what is still to come, in words.
    """

    name: str
    hosted: bool
    parameters: float | None = None
    context: int = 0
    tunable: bool = False
    call: float | None = 0.0
    training: float | None = 0.0
    retires: date | None = None
    may_retire: bool = False
    tune_until: date | None = None
    licence: str = ""
    ready: bool = True
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What the model is for.

    Args:
        task: what it will do.
        budget: US dollars for ``calls`` calls, and where the task is ``tune`` for the tuning before them.
        calls: how many.
        privacy: whether documents may leave the machine.
        memory: bytes of the GPU, or of the machine where there is none.
        gpu: there is one.
        today: the date.
    """

    task: Task = "answer"
    budget: float = math.inf
    calls: int = 1000
    privacy: Privacy = "any"
    memory: float = 8e9
    gpu: bool = False
    today: date = date.max


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate's place: ``fits`` or not, and why."""

    candidate: Candidate
    fits: bool
    reasons: tuple[str, ...]
    cost: float | None


def choose(candidates: Sequence[Candidate], need: Need) -> list[Choice]:
    """All candidates, those that fit first and the likeliest first among them; each with its reasons."""
    return sorted((_weigh(candidate, need) for candidate in candidates), key=lambda choice: _order(choice, need))


def memory_needed(parameters: float, *, tuning: bool) -> float:
    """Bytes that an open model takes to answer, or to be tuned with LoRA, in bf16."""
    return parameters * _BYTES * (_TUNING if tuning else 1.2)


def _weigh(candidate: Candidate, need: Need) -> Choice:
    against = _against(candidate, need)
    cost = _cost(candidate, need)
    return Choice(candidate, not against, tuple(against or _for(candidate, need)), cost)


def _cost(candidate: Candidate, need: Need) -> float | None:
    """US dollars of all calls and of the tuning before them; ``None`` where either is not known."""
    training = candidate.training if need.task == "tune" and candidate.tunable else 0.0
    return None if candidate.call is None or training is None else candidate.call * need.calls + training


def _costs(candidate: Candidate, need: Need) -> str:
    """What the cost is of, and how much."""
    calls = "calls at a price that is not known" if candidate.call is None else f"calls cost about ${candidate.call * need.calls:.2f}"
    if need.task != "tune" or not candidate.tunable:
        return f"{need.calls} {calls}"
    dollars = "costs what ragtune does not know" if candidate.training is None else f"costs about ${candidate.training:.2f}"
    assumed = f"{_QUESTIONS} questions for {_EPOCHS} epochs ({TRAINED_TOKENS / 1e6:.1f} million tokens)"
    return f"tuning on {assumed} {dollars}, {need.calls} {calls}"


def _against(candidate: Candidate, need: Need) -> list[str]:
    """What rules it out."""
    found = []
    if need.privacy == "own-machine" and candidate.hosted:
        found.append("documents would leave this machine")
    if candidate.retires is not None and candidate.retires <= need.today and not candidate.may_retire:
        found.append(f"retired since {candidate.retires}")
    if need.task == "tune" and not candidate.tunable:
        found.append("it cannot be tuned")
    elif need.task == "tune" and candidate.tune_until is not None and candidate.tune_until <= need.today:
        found.append(f"no new tuning jobs since {candidate.tune_until}")
    if candidate.parameters is not None:
        wanted = memory_needed(candidate.parameters, tuning=need.task == "tune")
        if wanted > need.memory:
            found.append(f"it needs about {wanted / 1e9:.1f} GB of memory, and there are {need.memory / 1e9:.1f}")
    cost = _cost(candidate, need)
    if cost is None and math.isfinite(need.budget):
        setting = "chat.prices" if candidate.call is None else "tuning.price"
        found.append(f"its price is not known, so a budget cannot be kept to (set {setting})")
        found += [candidate.missing] if candidate.missing else []
    elif cost is not None and cost > need.budget:
        found.append(f"{_costs(candidate, need)}, more than ${need.budget:.2f}")
    return found


def _for(candidate: Candidate, need: Need) -> list[str]:
    """What speaks for it, and what to mind."""
    found = []
    if candidate.hosted:
        found.append(_costs(candidate, need))
    else:
        size = f"{_count(candidate.parameters)} parameters" if candidate.parameters else "of your own"
        found.append(f"{size}, on this machine, nothing leaves it" + (f"; {candidate.licence}" if candidate.licence else ""))
    if not candidate.hosted and candidate.parameters and candidate.parameters < _SMALLEST[need.task]:
        found.append(f"small for {TASKS[need.task]}: expect little, and measure it")
    if not candidate.hosted and not need.gpu and (candidate.parameters or 0) > 0.5e9:
        found.append("slow without a GPU")
    if candidate.retires is not None and candidate.may_retire:
        found.append(f"may be shut down from {candidate.retires} on")
    elif candidate.retires is not None:
        found.append(f"retires on {candidate.retires}, in {(candidate.retires - need.today).days} days")
    if need.task == "tune" and candidate.tune_until is not None:
        found.append(f"no new tuning jobs from {candidate.tune_until} on")
    if candidate.missing:
        found.append(candidate.missing)
    return found


def _count(parameters: float) -> str:
    return f"{parameters / 1e9:.2g} billion" if parameters >= 1e9 else f"{parameters / 1e6:.0f} million"


def _order(choice: Choice, need: Need) -> tuple[object, ...]:
    candidate = choice.candidate
    small = not candidate.hosted and (candidate.parameters or 0) < _SMALLEST[need.task]
    soon = candidate.retires is not None and not candidate.may_retire and (candidate.retires - need.today).days < 90
    slow = not candidate.hosted and not need.gpu and (candidate.parameters or 0) > 0.5e9
    price = math.inf if choice.cost is None else choice.cost
    return (not choice.fits, small, soon, slow, not candidate.ready, price, -(candidate.parameters or 0), candidate.name)


def call_tokens() -> tuple[int, int]:
    """Prompt and completion tokens of a call with three passages, for estimates."""
    return _PROMPT_TOKENS, _ANSWER_TOKENS
