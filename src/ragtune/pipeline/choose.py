"""Rank the models that could be used, and measure the likeliest ones on validation questions."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence

import psutil

from ragtune import build
from ragtune.chat.generate import generate
from ragtune.config import Settings
from ragtune.dataset.draws import draw
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import read_dataset
from ragtune.errors import ChatError, ConfigError, EvaluationError, MissingExtraError, ModelError
from ragtune.evaluate.answers import f1
from ragtune.evaluate.intervals import bootstrap
from ragtune.hosted.providers import is_hosted, split_name
from ragtune.models.catalog import CATALOG, OPEN_MODELS
from ragtune.models.choose import TRAINED_TOKENS, Candidate, Choice, Need, call_tokens, choose
from ragtune.models.hosted import HOSTED, HostedModel
from ragtune.models.pull import is_here
from ragtune.pipeline.cells import choose_shots
from ragtune.pipeline.consent import Bill, Confirm, agree_to, estimate, prompt_tokens
from ragtune.pipeline.forecast import ANSWER_TOKENS
from ragtune.pipeline.records import Trial
from ragtune.progress import Progress
from ragtune.prompts import build_messages, parse_answer
from ragtune.protocols import ChatModel
from ragtune.quotes import check_quote
from ragtune.types import Generation, Message, Usage
from ragtune.workspace import Workspace


def rank_models(workspace: Workspace, settings: Settings, need: Need) -> list[Choice]:
    """Every model that ragtune knows by name, those that fit the need first."""
    return choose([*_local(), *_hosted(workspace, settings)], need)


def this_machine() -> tuple[float, bool]:
    """Bytes of the GPU's memory, else of the machine's that are free; and whether there is a GPU."""
    try:
        import torch

        if torch.cuda.is_available():
            return float(torch.cuda.get_device_properties(0).total_memory), True
    except ModuleNotFoundError:
        pass
    return float(psutil.virtual_memory().available), False


def try_models(
    workspace: Workspace,
    settings: Settings,
    names: Sequence[str],
    questions: int,
    dataset: str | None,
    progress: Progress,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> list[Trial]:
    """Ask each model the same sample of validation questions, with the passages that are served and two worked examples.

    Validation questions, so that the test split stays unread. A model that does not answer is in the list with the reason.

    Raises:
        EvaluationError: the dataset has no validation questions with answers.
        ConsentError: it costs money, and neither ``yes`` nor ``confirm`` agreed to it.
    """
    source = workspace.find("datasets", dataset)
    data = read_dataset(workspace.artifact("datasets", source.name))
    asked = sorted((e for e in data.validation if e.answers), key=lambda e: draw("try", settings.evaluate.seed, e.id))[:questions]
    if not asked:
        raise EvaluationError(f"dataset {source.name} has no validation questions with answers: add questions, or raise validation_share")
    k = int(source.settings["retrieve"]["k"])
    shots = choose_shots(data, settings.evaluate.seed)
    shown = [[data.passages[id_] for id_ in evaluation_context(example, "retrieved", k).passages or ()] for example in asked]
    prompts = [build_messages(each.question, passages, shots, each.history) for each, passages in zip(asked, shown, strict=True)]
    agree_to(list(_bills(workspace, settings, names, prompts)), settings, yes=yes, confirm=confirm, progress=progress)
    groups = [example.group for example in asked]
    trials = []
    progress.start("try", len(names) * len(asked))
    for number, name in enumerate(names):
        try:
            chat = build.chat_model(workspace, settings, name)
            written = dict(_answers(chat, prompts, settings, progress, number * len(asked)))
        except (ChatError, ConfigError, ModelError, MissingExtraError) as error:
            trials.append(Trial(name, None, None, None, None, len(asked), str(error)))
            continue
        parsed = [parse_answer(written[index].text) for index in range(len(asked))]
        scores = [0.0 if answer.abstained else f1(answer.answer, example.answers) for answer, example in zip(parsed, asked, strict=True)]
        quoted = [
            any(check_quote(quote, passages).valid for quote in answer.quotes) for answer, passages in zip(parsed, shown, strict=True)
        ]
        costs = [written[index].cost for index in range(len(asked))]
        trials.append(
            Trial(
                name,
                bootstrap(scores, groups, n=len(asked), seed=settings.evaluate.seed),
                sum(quoted) / len(quoted),
                None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs) / len(costs),
                statistics.median(written[index].seconds for index in range(len(asked))),
                len(asked),
            )
        )
    progress.finish("try", f"{len(names)} models on {len(asked)} validation questions")
    return trials


def _bills(workspace: Workspace, settings: Settings, names: Sequence[str], prompts: Sequence[Sequence[Message]]) -> Iterator[Bill]:
    """What each hosted model will be asked; one that cannot be asked costs nothing, and its trial says why."""
    for name in names:
        with contextlib.suppress(ChatError, ConfigError, MissingExtraError):
            if is_hosted(name):
                build.chat_model(workspace, settings, name)
                usage = Usage(prompt_tokens(prompts), ANSWER_TOKENS * len(prompts))
                yield estimate(workspace, settings, name, f"answers {len(prompts)} prompts", len(prompts), usage)


def _answers(
    chat: ChatModel, prompts: Sequence[Sequence[object]], settings: Settings, progress: Progress, before: int
) -> Iterator[tuple[int, Generation]]:
    concurrency = settings.chat.concurrency if is_hosted(chat.name) else 1
    made = generate(chat, prompts, max_new_tokens=settings.generate.max_new_tokens, concurrency=concurrency)  # type: ignore[arg-type]
    for done, (index, generation) in enumerate(made, start=1):
        progress.update("try", before + done, chat.name)
        yield index, generation


def _local() -> Iterator[Candidate]:
    for entry in CATALOG.values():
        if entry.kind == "chat":
            missing = "" if is_here(entry.id) else "its weights are fetched at first use"
            yield Candidate(entry.id, False, entry.parameters, entry.context, True, 0.0, licence=entry.licence, missing=missing)
    for model in OPEN_MODELS:
        missing = "fetched from the Hugging Face hub at first use"
        yield Candidate(model.id, False, model.parameters, model.context, True, 0.0, licence=model.licence, missing=missing)


def _hosted(workspace: Workspace, settings: Settings) -> Iterator[Candidate]:
    for model in HOSTED.values():
        if "chat" in model.uses:
            yield _hosted_candidate(workspace, settings, model)


def _hosted_candidate(workspace: Workspace, settings: Settings, model: HostedModel) -> Candidate:
    missing = build.what_is_missing(workspace, settings, model.id)
    per_million = settings.tuning.price if settings.tuning.price is not None else model.training_price
    return Candidate(
        model.id,
        hosted=True,
        context=model.context or 0,
        tunable="tune" in model.uses,
        call=_call_price(workspace, settings, model.id),
        training=None if per_million is None else per_million * TRAINED_TOKENS / 1e6,
        retires=model.retires,
        may_retire=model.may_retire,
        tune_until=model.tune_until,
        ready=not missing,
        missing="; ".join(missing),
    )


def _call_price(workspace: Workspace, settings: Settings, name: str) -> float | None:
    provider, model = split_name(name)
    try:
        price = build.list_price(settings, name, build.server_address(workspace, settings, provider, model))
    except (ConfigError, MissingExtraError):  # which are among what is missing
        return None
    return None if price is None else price(Usage(*call_tokens()))
