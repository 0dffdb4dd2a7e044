"""The local engine: a base model of transformers with any of its adapters, batched, on a CPU or a GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from ragtune.dtype import best_dtype
from ragtune.engine.adapters import Adapters, Tuned, tuned_by
from ragtune.engine.choose import Constraint, Writing, sampler
from ragtune.engine.decode import Decoding, Prefixes
from ragtune.engine.json_schema import JsonConstraint
from ragtune.engine.running import RunningBatch
from ragtune.engine.spans import SpanConstraint
from ragtune.engine.words import Words
from ragtune.errors import ContextOverflowError, ModelError
from ragtune.fitting import fitting, ran_out
from ragtune.prompts import PromptIds, build_completion, encode_completion, encode_prompt, end_of_turn
from ragtune.templates import load_tokenizer
from ragtune.types import GREEDY, Generation, Message, Passage, Sampling

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


class HuggingFaceEngine:
    """Fulfils the engine's contract with a causal language model of transformers.

    Safe to use from several threads: each step of each answer takes its turn.

    Args:
        model: folder, or ``organisation/model`` of a hub.
        device: of torch, e.g. ``cuda:1``; ``None`` takes a GPU where there is one.
        dtype: number format of the weights; ``auto`` is bfloat16 where the hardware multiplies it faster, else float32.
        template: Jinja text of a chat template; ``None`` is the model's own.

    Raises:
        ModelError: the model cannot be loaded, or cannot be used for chats.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        template: str | None = None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype: torch.dtype = best_dtype(self.device) if dtype == "auto" else getattr(torch, dtype)
        self._take(*_load(model, self.device, self.dtype, template))

    @classmethod
    def over(cls, model: Any, tokenizer: Any) -> HuggingFaceEngine:
        """An engine over a model that is loaded already, with its weights as they are whenever it answers.

        Args:
            model: of transformers, in evaluation mode, with an attention implementation that takes a mask.
            tokenizer: its own.
        """
        engine = cls.__new__(cls)
        engine.device, engine.dtype = model.device, model.dtype
        engine._take(tokenizer, model)
        return engine

    def _take(self, tokenizer: Any, model: Any) -> None:
        self._tokenizer, self._model = tokenizer, model
        config = self._model.config.get_text_config()
        self._max_positions = int(config.max_position_embeddings)
        self.stop = _stop_ids(self._model, self._tokenizer)
        self._probe = encode_completion(self._tokenizer, build_completion(None))[0]
        self._adapters = Adapters(self._model)
        self._prefixes: dict[Tuned, Prefixes] = {}
        self._most: int | None = None
        """Prompts that memory sufficed for together, once it did not for more."""
        self._lock = threading.Lock()

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        quotable: Sequence[Sequence[Passage]] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        batch_size: int = 16,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Greedy answers as ``(index, generation)``, longest prompts first; equal prompts are answered once.

        Args:
            prompts: chats.
            quotable: for each prompt the passages that the quotes before its answer are held to; ``None`` leaves them free.
            adapter: folder of a PEFT adapter; ``None`` is the plain base.
            max_new_tokens: an answer is cut after so many.
            batch_size: prompts answered together; fewer where memory does not suffice.
            constraints: for each prompt what it may write, or ``None``. A constraint must depend on its prompt alone.

        Raises:
            ModelError: a prompt with its answer does not fit the model, or memory not even one of them.
        """
        encoded = [self.encode(prompt, max_new_tokens) for prompt in prompts]
        if quotable is not None:
            constraints = [self._constraint(passages, GREEDY, max_new_tokens) for passages in quotable]
        places: dict[PromptIds, list[int]] = {}
        for index, prompt_ids in enumerate(encoded):
            places.setdefault(prompt_ids, []).append(index)
        # Equal contexts come together, so that they are read once; the longest first, so that memory runs out at once or never.
        order = sorted(places, key=lambda ids: (len(ids.context), ids.context, len(ids.branch), ids.branch), reverse=True)
        held = [None if constraints is None else constraints[places[ids][0]] for ids in order]
        start, size = 0, min(batch_size, self._most or batch_size)
        while start < len(order):
            answer = partial(self._answer, order[start:], held[start:], adapter, max_new_tokens)
            asked = min(size, len(order) - start)
            answered, size = fitting(asked, answer, self._no_room(len(order[start].ids) + max_new_tokens))
            if size < asked:
                self._most = size
            for prompt_ids, generation in zip(order[start : start + size], answered, strict=True):
                for index in places[prompt_ids]:
                    yield index, generation
            start += size

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        sampling: Sampling = GREEDY,
        constraint: Constraint | None = None,
    ) -> Iterator[str | Generation]:
        """Pieces of one answer, then all of it; a character of several tokens is given when it is whole."""
        begun = time.perf_counter()
        encoded = self.encode(prompt, max_new_tokens)
        writing = self.writing(quotable, sampling, max_new_tokens)
        writing.constraint = constraint or writing.constraint
        tuned, length = tuned_by(adapter), len(encoded.ids) + max_new_tokens
        with self._told_of_memory(length), self.using(tuned) as prefixes:
            decoding = self._start([encoded], max_new_tokens, [writing], prefixes)
        words = Words(self.decode, sampling.stop)
        while not decoding.done and not words.stopped:
            with self._told_of_memory(length), self.using(tuned):
                (step,) = decoding.step()
            if piece := words.take(step.token):
                yield piece
        if piece := words.rest():
            yield piece
        yield Generation(
            text=words.text,
            prompt_tokens=len(encoded.ids),
            completion_tokens=len(writing.ids),
            seconds=time.perf_counter() - begun,
            finished=words.ended,
            abstain_logodds=decoding.probe_logodds[0],
            logprob=writing.logprob,
        )

    def writing(self, quotable: Sequence[Passage] | None, sampling: Sampling, limit: int) -> Writing:
        """How one answer's tokens are chosen, of which there are so many at most.

        Raises:
            SchemaError: no JSON can be held to the schema.
            MissingExtraError: a schema is given, and what holds JSON to it is not installed.
        """
        return Writing(self._constraint(quotable, sampling, limit), sampler(sampling))

    def _constraint(self, quotable: Sequence[Passage] | None, sampling: Sampling, limit: int) -> Constraint | None:
        if sampling.schema is not None:
            return JsonConstraint(self._tokenizer, sampling.schema, self.stop)
        return SpanConstraint(self._tokenizer, quotable, limit) if quotable else None

    def nll(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, adapter: Path | None = None, batch_size: int = 8
    ) -> list[tuple[float, int]]:
        """For each (prompt, completion): summed negative log-likelihood of the completion in nats, and its tokens."""
        sequences = []
        for prompt, completion in pairs:
            tail = encode_completion(self._tokenizer, completion)
            sequences.append((self.encode(prompt, len(tail)).ids, tail))
        order = sorted(range(len(pairs)), key=lambda index: len(sequences[index][0]) + len(sequences[index][1]), reverse=True)
        result = [(0.0, 0)] * len(pairs)
        start, size = 0, batch_size
        while start < len(order):
            score = partial(self._score, [sequences[index] for index in order[start:]], adapter)
            sums, size = fitting(min(size, len(order) - start), score, self._no_room(sum(map(len, sequences[order[start]]))))
            for index, value in zip(order[start : start + size], sums, strict=True):
                result[index] = (value, len(sequences[index][1]))
            start += size
        return result

    @contextmanager
    def _told_of_memory(self, tokens: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if ran_out(error):
                raise ModelError(self._no_room(tokens)) from error
            raise

    def _no_room(self, tokens: int) -> str:
        return (
            f"memory on {self.device} does not suffice for one text of {tokens} tokens: end what else uses it"
            f"{' (nvidia-smi lists it)' if self.device.type == 'cuda' else ''}, or show fewer or shorter passages"
        )

    def encode(self, prompt: Sequence[Message], room: int) -> PromptIds:
        """Token ids of a chat to be answered in at most ``room`` tokens.

        Raises:
            ContextOverflowError: they do not fit the model.
        """
        encoded = encode_prompt(self._tokenizer, prompt)
        length = len(encoded.ids)
        if length + room > self._max_positions:
            raise ContextOverflowError(
                f"a prompt of {length} tokens and an answer of {room} do not fit the model's {self._max_positions} positions: "
                "show fewer or shorter passages, fewer worked examples, or allow fewer new tokens"
            )
        return encoded

    @contextmanager
    def using(self, tuned: Tuned) -> Iterator[Prefixes]:
        """The model has these weights meanwhile, and to itself who asks; gives what they have read of common beginnings."""
        with self._lock:
            self._adapters.use(tuned)
            if tuned not in self._prefixes:
                self._prefixes = {tuned: {}}  # only the weights in use keep what they read: adapters come and go
            yield self._prefixes[tuned]

    def running(self, rows: int) -> RunningBatch:
        """An empty batch of at most so many rows, to be used with the model to oneself."""
        return RunningBatch(self._model, rows, self._probe)

    def _start(self, batch: Sequence[PromptIds], limit: int, writings: Sequence[Writing], prefixes: Prefixes) -> Decoding:
        return Decoding(self._model, batch, stop=self.stop, max_new_tokens=limit, probe=self._probe, prefixes=prefixes, writings=writings)

    def _answer(
        self, prompts: Sequence[PromptIds], constraints: Sequence[Constraint | None], adapter: Path | None, limit: int, count: int
    ) -> list[Generation]:
        """Answers to the first so many of the prompts, written together."""
        begun = time.perf_counter()
        batch = prompts[:count]
        writings = [Writing(constraint) for constraint in constraints[:count]]
        finished = [False] * len(batch)
        with self.using(tuned_by(adapter)) as prefixes:
            decoding = self._start(batch, limit, writings, prefixes)
            while not decoding.done:
                for step in decoding.step():
                    finished[step.row] = step.token is None
        seconds = (time.perf_counter() - begun) / len(batch)
        return [
            Generation(
                text=self.decode(writings[row].ids),
                prompt_tokens=len(prompt.ids),
                completion_tokens=len(writings[row].ids),
                seconds=seconds,
                finished=finished[row],
                abstain_logodds=decoding.probe_logodds[row],
                logprob=writings[row].logprob,
            )
            for row, prompt in enumerate(batch)
        ]

    def _score(self, sequences: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], adapter: Path | None, count: int) -> list[float]:
        """Summed negative log-likelihoods of the first so many."""
        with self.using(tuned_by(adapter)):
            return self._sums(sequences[:count])

    @torch.inference_mode()
    def _sums(self, batch: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[float]:
        """Padding stands on the right, where causal attention never looks."""
        width = max(len(prompt) + len(tail) for prompt, tail in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for row, (prompt, tail) in enumerate(batch):
            ids[row, : len(prompt) + len(tail)] = torch.tensor(prompt + tail)
        first = min(len(prompt) for prompt, _ in batch) - 1
        ids = ids.to(self.device)
        # The output head is the dearest layer of a small model: run it from the first completion's start on only.
        kept = torch.arange(first, width, device=self.device)
        logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        sums = []
        for row, (prompt, tail) in enumerate(batch):
            start = len(prompt) - 1 - first
            scores = logits[row, start : start + len(tail)].float()
            targets = torch.tensor(tail, device=self.device)
            sums.append(float(torch.nn.functional.cross_entropy(scores, targets, reduction="sum")))
        return sums

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's ids."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _load(name: str | Path, device: torch.device, dtype: torch.dtype, template: str | None) -> tuple[Any, Any]:
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = load_tokenizer(name, template)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except StrictDataclassError as error:  # a setting of no fitting type, or that goes with no other
        raise ModelError(f"cannot load model {name}: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load model {name}: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    unknown = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - _ATTENTION
    if unknown:
        raise ModelError(f"model {name} has layers that the engine cannot batch ({', '.join(sorted(unknown))}): choose a transformer model")
    return tokenizer, model.to(device).eval()


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    stop = {configured} if isinstance(configured, int) else set(configured or ())
    if tokenizer.eos_token_id is not None:
        stop.add(tokenizer.eos_token_id)
    turn = tokenizer.encode(end_of_turn(tokenizer), add_special_tokens=False)
    if len(turn) == 1:
        stop.add(turn[0])
    return frozenset(stop)
