"""How many answers a second are trained, beside TRL's SFTTrainer? And what is each trick worth?

    RAGTUNE_DATA=/path/to/data python benchmarks/training_speed.py            # under 6 minutes on two free cores
    RAGTUNE_DATA=/path/to/data python benchmarks/training_speed.py --answers 96 --rounds 5 --output benchmarks/results/training_speed.json

The examples are squadshifts_new_wiki's: four paragraphs of one article as the context, questions of these paragraphs, a quote and the
answer to learn. All contestants have one base, rank, layers, learning rate, schedule and examples, take turns step by step in one process,
and are scored by one function on articles that none has seen. The first step of each is not counted. ``--dataset`` takes the examples and
their shared contexts from a dataset that ``ragtune dataset`` made instead. Writes
``benchmarks/results/training_speed_short.json``, or ``--output``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import torch
from datasets.utils.logging import disable_progress_bar as disable_progress_bars
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, TrainerCallback
from transformers import set_seed as set_transformers_seed

from ragtune.dataset.shared import group_contexts, served_contexts
from ragtune.dataset.store import read_dataset
from ragtune.models.pull import resolve
from ragtune.prompts import build_completion, build_messages
from ragtune.train.batches import Batch, pack
from ragtune.train.lora import load_adapter
from ragtune.train.loss import batch_loss
from ragtune.train.sequences import TokenSequence, split_steps
from ragtune.train.torch import TorchTrainer
from ragtune.types import Branch, ContextGroup, Passage, Span
from ragtune.workspace import library_versions, read_manifest

RESULTS = Path(__file__).parent / "results" / "training_speed_short.json"
RANK, ALPHA, RATE = 16, 32.0, 5e-4
PLAIN = "trl without gradient checkpointing"
"""TRL's defaults recompute each layer's activations to save memory: the fairer rival of a trainer that does not."""
PLAIN_STEPS = 5
"""It differs in speed alone, so it is timed and not trained to the end."""


@dataclass
class Turns:
    """Hands the processor from one contestant's thread to the next, a step at a time, and keeps each step's seconds."""

    answers: list[int]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    begun: float = 0.0
    cpu_begun: float = 0.0
    ready: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def start(self) -> None:
        """Wait for the first turn, or the next."""
        self.ready.set()
        self.go.acquire()
        self.begun, self.cpu_begun = time.perf_counter(), time.process_time()

    def step(self, *_: object) -> None:
        """A step is done: whose turn is it?"""
        self.seconds.append(time.perf_counter() - self.begun)
        self.cpu_seconds.append(time.process_time() - self.cpu_begun)
        self.done.release()
        if len(self.seconds) < len(self.answers):
            self.start()

    def rate(self, seconds: Sequence[float]) -> float:
        """Answers a second, the median of all steps but the first; of a single step, its own."""
        rates = [answers / spent for answers, spent in zip(self.answers, seconds, strict=True)]
        return statistics.median(rates[1:] or rates)


Contestant: TypeAlias = tuple[Turns, Callable[[Turns, Path], None]]


def main() -> None:
    arguments = _arguments()
    if not (arguments.dataset or os.environ.get("RAGTUNE_DATA")):
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki/, or give --dataset FOLDER")
        return
    disable_progress_bars()
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    base = str(resolve("smollm2-135m-instruct"))
    shared, held_out = _dataset(arguments) if arguments.dataset else _squadshifts(arguments)
    separate = [ContextGroup(group.passages, (branch,)) for group in shared for branch in group.branches]
    random.Random(1).shuffle(separate)
    print(f"{len(separate)} answers in {len(shared)} shared contexts, {len(held_out)} for validation", flush=True)
    contest = _contest(base, separate, shared, held_out, arguments.answers_per_step)
    ablation = _ablation(base, separate[:2], arguments.rounds)
    report = {
        "hardware": {
            "processor": _processor(),
            "cores": torch.get_num_threads(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30),
        },
        "versions": {**library_versions(), **_versions("trl", "peft")},
        "settings": {
            "rank": RANK,
            "learning_rate": RATE,
            "answers_per_step": arguments.answers_per_step,
            "answers": len(separate),
            "branches_per_context": round(len(separate) / len(shared), 2),
            "contexts": f"served, {arguments.dataset.name}" if arguments.dataset else "4 paragraphs of an article",
        },
        "contest": contest,
        "ablation": ablation,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"contest": contest, "ablation": ablation}, indent=1))


def _contest(
    base: str, separate: list[ContextGroup], shared: list[ContextGroup], held_out: list[ContextGroup], per_step: int
) -> dict[str, Any]:
    """All contestants in turns; answers a second, the ratio to TRL's, and what each has learnt."""
    steps = [per_step] * (len(separate) // per_step)
    contestants: dict[str, Contestant] = {
        "trl": (Turns(steps), _trl(base, separate, {"per_device_train_batch_size": per_step})),
        PLAIN: (
            Turns(steps[:PLAIN_STEPS]),
            # In batches of two, or its activations would take more memory than a laptop has.
            _trl(base, separate, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": per_step // 2,
                                  "gradient_checkpointing": False, "max_steps": len(steps[:PLAIN_STEPS])}),
        ),
    }  # fmt: skip
    for name, groups in {"ragtune, separate contexts": separate, "ragtune, shared contexts": shared}.items():
        plan = [sum(len(group.branches) for group in step) for step in split_steps(groups, per_step)]
        contestants[name] = Turns(plan), _ragtune(base, groups, per_step)
    with tempfile.TemporaryDirectory() as folder:
        _take_turns(contestants, Path(folder))
        adapters = {name: Path(folder) / name / "adapter" for name in contestants if name != PLAIN}
        losses = _validation(base, {"base": None, **adapters}, held_out)
    speed = {name: turns.rate(turns.seconds) for name, (turns, _) in contestants.items()}
    cpu = {name: turns.rate(turns.cpu_seconds) for name, (turns, _) in contestants.items()}
    rows = {
        name: {
            "answers_per_s": round(speed[name], 3),
            "ratio_to_trl": round(speed[name] / speed["trl"], 2),
            "ratio_to_trl_without_checkpointing": round(speed[name] / speed[PLAIN], 2),
            "answers_per_core_s": round(cpu[name], 3),
            "core_ratio_to_trl": round(cpu[name] / cpu["trl"], 2),
            "core_ratio_to_trl_without_checkpointing": round(cpu[name] / cpu[PLAIN], 2),
            "updates": len(turns.seconds),
            "answers": sum(turns.answers),
            "validation_loss": round(losses[name], 4) if name in losses else None,
        }
        for name, (turns, _) in contestants.items()
    }
    return {"base_validation_loss": round(losses["base"], 4), **rows}


def _take_turns(contestants: dict[str, Contestant], folder: Path) -> None:
    threads = {}
    for name, (turns, run) in contestants.items():
        threads[name] = threading.Thread(target=_guarded, args=(turns, run, folder / name), daemon=True)
        threads[name].start()
        turns.ready.wait()  # transformers cannot load two models at once
    while waiting := [(name, turns) for name, (turns, _) in contestants.items() if len(turns.seconds) < len(turns.answers)]:
        for name, turns in waiting:
            turns.go.release()
            turns.done.acquire()
            if len(turns.seconds) == len(turns.answers):
                threads[name].join()
            if turns.error:
                raise turns.error
            print(f"{name}: {turns.answers[len(turns.seconds) - 1]} answers in {turns.seconds[-1]:.1f} s", flush=True)


def _guarded(turns: Turns, run: Callable[[Turns, Path], None], folder: Path) -> None:
    try:
        run(turns, folder)
    except BaseException as error:
        turns.error = error
        turns.ready.set()
        turns.done.release()


def _trainer(base: str, **options: Any) -> TorchTrainer:
    return TorchTrainer(base, **{"rank": RANK, "alpha": ALPHA, "learning_rate": RATE, "epochs": 1} | options)


def _ragtune(base: str, groups: Sequence[ContextGroup], per_step: int) -> Callable[[Turns, Path], None]:
    def run(turns: Turns, folder: Path) -> None:
        trainer = _trainer(base, answers_per_step=per_step)
        load = trainer.load

        def begin(*arguments: Any) -> Any:
            learner = load(*arguments)
            gradients = learner.gradients

            def first(*given: Any) -> Any:
                if not turns.seconds and not turns.begun:
                    turns.start()  # the model is loaded by now
                return gradients(*given)

            learner.gradients = first  # type: ignore[method-assign]
            return learner

        trainer.load = begin  # type: ignore[method-assign]
        trainer.train(lambda _: groups, [], folder, turns.step)

    return run


def _trl(base: str, groups: Sequence[ContextGroup], options: dict[str, Any]) -> Callable[[Turns, Path], None]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    def run(turns: Turns, folder: Path) -> None:
        rows = [
            {
                "prompt": [{"role": m.role, "content": m.content} for m in build_messages(group.branches[0].question, group.passages)],
                "completion": [{"role": "assistant", "content": group.branches[0].completion}],
            }
            for group in groups
        ]

        class Gate(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                turns.start()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                turns.step()

        config = SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            completion_only_loss=True,
            max_length=None,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            dataloader_drop_last=True,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **options,
        )
        set_transformers_seed(0)
        lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(model=base, args=config, train_dataset=Dataset.from_list(rows), peft_config=lora, callbacks=[Gate()])
        trainer.train()
        trainer.model.save_pretrained(str(folder / "adapter"))

    return run


def _validation(base: str, adapters: dict[str, Path | None], groups: Sequence[ContextGroup]) -> dict[str, float]:
    """One yardstick: the mean over answers of an answer's summed loss, in nats, divided by 32 (``ANSWER_TOKENS``)."""
    trainer = _trainer(base)
    losses = {}
    for name, adapter in adapters.items():
        loaded = trainer.load()
        if adapter is not None:
            load_adapter(adapter, loaded.layers)
        losses[name] = loaded.validate([loaded.encode(group) for group in groups])
    return losses


def _ablation(base: str, separate: Sequence[ContextGroup], rounds: int) -> dict[str, Any]:
    """Seconds an answer with one trick taken away at a time, on separate contexts; what sharing them brings, the contest tells."""
    full = _trainer(base)
    loaded = full.load()
    sequences = [loaded.encode(group) for group in separate]
    float32 = _trainer(base, dtype="float32")
    loaded32 = float32.load()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=full.how.dtype, attn_implementation="ragtune_blocks")
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = get_peft_model(model, lora)
    ours = loaded.model

    def gradients(model: Any, batches: Iterator[Batch], trainer: TorchTrainer = full) -> None:
        for batch in batches:
            batch_loss(model, batch.to(trainer.how.device, trainer.how.dtype)).backward()  # type: ignore[no-untyped-call]

    variants: dict[str, Callable[[], None]] = {
        "all tricks": lambda: gradients(ours, loaded.batches(sequences)),
        "logits at every position": lambda: gradients(ours, map(_all_positions, loaded.batches(sequences))),
        "PEFT's adapter layers": lambda: gradients(theirs, loaded.batches(sequences)),
        "PyTorch's attention kernel": lambda: gradients(ours, (pack([each], fused=True) for each in sequences)),
        "padded batches": lambda: gradients(ours, loaded.batches(_padded(sequences))),
        "base in float32": lambda: gradients(loaded32.model, loaded32.batches(sequences), float32),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            begun = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    per_answer = {name: statistics.median(values) / len(sequences) for name, values in seconds.items()}
    return {
        name: {"seconds_per_answer": round(value, 3), "slower_than_all_tricks": round(value / per_answer["all tricks"], 2)}
        for name, value in per_answer.items()
    }


def _all_positions(batch: Batch) -> Batch:
    """The same loss with the output head at every position, as labels of -100 have it."""
    targets, weights = torch.zeros(batch.tokens, dtype=torch.long), torch.zeros(batch.tokens)
    targets[batch.at_c], weights[batch.at_c] = batch.targets_c, batch.weights_c
    return replace(batch, at_c=torch.arange(batch.tokens), targets_c=targets, weights_c=weights)


def _padded(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """What padding each sequence to the longest of its step costs."""
    longest = max(map(len, sequences))
    return [TokenSequence(each.context + (0,) * (longest - len(each)), each.branches) for each in sequences]


def _squadshifts(arguments: Any) -> tuple[list[ContextGroup], list[ContextGroup]]:
    """Contexts of four paragraphs of an article with up to twelve of their questions; validation on twelve other articles."""
    data = Path(os.environ["RAGTUNE_DATA"])
    articles = json.loads((data / "squadshifts_new_wiki" / "new_wiki_v1.0.json").read_text(encoding="utf-8"))["data"]
    rng = random.Random(0)
    rng.shuffle(articles)
    count = -(-arguments.answers // arguments.branches)
    shared = [_context(articles[:36], rng, arguments.branches) for _ in range(count)]
    held_out = [_context(articles[36:], rng, 1) for _ in range(arguments.validation)]
    return shared, held_out


def _context(articles: Sequence[dict[str, Any]], rng: random.Random, branches: int) -> ContextGroup:
    article = rng.choice([each for each in articles if len(each["paragraphs"]) >= 4])
    chosen = rng.sample(article["paragraphs"], 4)
    asked = [(entry, paragraph["context"]) for paragraph in chosen for entry in paragraph["qas"] if entry["answers"]]
    asked = rng.sample(asked, min(branches, len(asked)))
    return ContextGroup(
        tuple(_passage(article["title"], number, paragraph["context"].strip()) for number, paragraph in enumerate(chosen)),
        tuple(Branch(entry["id"], entry["question"], _completion(entry, text)) for entry, text in asked),
    )


def _passage(title: str, number: int, text: str) -> Passage:
    id_ = f"{title}-{number}"
    return Passage(id_, title, title, title.replace("_", " "), text, (Span(title, 0, len(text)),), (id_,))


def _completion(entry: dict[str, Any], text: str) -> str:
    answer = min((each["text"].strip() for each in entry["answers"]), key=len)
    sentence = next((each for each in re.split(r"(?<=[.!?])\s+", text.strip()) if answer in each), answer)
    return build_completion(answer, [" ".join(sentence.split()[:25])])


def _dataset(arguments: Any) -> tuple[list[ContextGroup], list[ContextGroup]]:
    """Served contexts, shared as ``ragtune train`` shares them."""
    data, manifest = read_dataset(arguments.dataset), read_manifest(arguments.dataset)
    if manifest is None:
        raise SystemExit(f"{arguments.dataset} holds no finished dataset")
    k, p = manifest.settings["retrieve"]["k"], manifest.figures["p_oracle"]
    groups = group_contexts(data.train, data.passages, epoch=0, seed=0, p=p, k=k)
    # The first groups of an epoch find the most questions to share with: a sample of all is what an epoch costs.
    random.Random(0).shuffle(groups)
    taken, answers = [], 0
    for group in groups:
        if answers >= arguments.answers:
            break
        taken.append(group)
        answers += len(group.branches)
    return taken, served_contexts(data.validation[: arguments.validation], data.passages, k=k)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in packages}


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=16, help="trained by each contestant")
    parser.add_argument("--answers-per-step", type=int, default=4, help="of one update")
    parser.add_argument("--branches", type=int, default=12, help="questions a shared context, at most")
    parser.add_argument("--rounds", type=int, default=2, help="of the ablation, after one that is not counted")
    parser.add_argument("--validation", type=int, default=8, help="questions of unseen articles")
    parser.add_argument("--dataset", type=Path, help="folder of a dataset to take served contexts from")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
