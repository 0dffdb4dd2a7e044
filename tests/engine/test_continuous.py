"""Answers that join and leave a running batch are those of the engine alone, and nobody's trouble is another's."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from waiting import PATIENCE_S, until

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from ragtune.engine import running
from ragtune.engine.adapters import tuned_by
from ragtune.engine.continuous import ContinuousEngine
from ragtune.engine.decode import KEPT_PREFIXES, keep_prefix, kept_prefix
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.errors import BusyError, ChatError, ContextOverflowError, LateError, ModelError
from ragtune.prompts import PromptIds, build_messages
from ragtune.testing import check_engine
from ragtune.types import Message, Passage, Sampling, Span
from tiny_models import make_model, make_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def passage(number: int, words: int) -> Passage:
    text = " ".join(f"word{(number * 7 + i) % 23}é" for i in range(words))
    return Passage(f"p{number}", "d", "t", "T", text, (Span("d", 0, len(text)),), (f"c{number}",))


PASSAGES = [[passage(1, 20), passage(2, 5)], [passage(3, 2)], [passage(1, 20), passage(2, 5)], [], [passage(4, 30)]]
PROMPTS = [
    build_messages(question, passages)
    for question, passages in zip(["what is it?", "who was it?", "when?", "why?", "how many of them?"], PASSAGES, strict=True)
]


@pytest.fixture(scope="module")
def engine(tiny) -> HuggingFaceEngine:
    return HuggingFaceEngine(tiny, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def endless() -> HuggingFaceEngine:
    """Has room for long answers, and never ends one by itself."""
    tokenizer = make_tokenizer()
    engine = HuggingFaceEngine.over(make_model(len(tokenizer), positions=8192), tokenizer)
    engine.stop = frozenset()
    return engine


@pytest.fixture
def make(engine):
    made = []

    def make(rows: int = 3, waiting: int = 64, timeout: float = PATIENCE_S, over: HuggingFaceEngine = engine) -> ContinuousEngine:
        made.append(ContinuousEngine(over, rows=rows, waiting=waiting, timeout=timeout))
        return made[-1]

    yield make
    for one in made:
        one.close()


def finish(pieces):
    *texts, whole = pieces
    assert "".join(texts) == whole.text
    assert all(texts)
    return whole


def same(found, wanted) -> None:
    assert (found.text, found.prompt_tokens, found.completion_tokens, found.finished) == (
        wanted.text, wanted.prompt_tokens, wanted.completion_tokens, wanted.finished,
    )  # fmt: skip
    assert found.logprob == pytest.approx(wanted.logprob, abs=1e-3)
    assert found.abstain_logodds == pytest.approx(wanted.abstain_logodds, abs=1e-3)


@pytest.fixture(scope="module")
def alone(engine, adapters):
    """Answers of the engine without neighbours: by prompt, adapter, whether quotes are held, and limit."""
    known = {}

    def ask(prompt: int, adapter: int | None, held: bool, limit: int):
        key = (prompt, adapter, held, limit)
        if key not in known:
            ((_, known[key]),) = engine.generate(
                [PROMPTS[prompt]],
                quotable=[PASSAGES[prompt]] if held else None,
                adapter=None if adapter is None else adapters[adapter],
                max_new_tokens=limit,
            )
        return known[key]

    return ask


def test_the_contract_of_engines(make, engine):
    check_engine(make())
    check_engine(engine)


ASK = st.tuples(
    st.integers(0, len(PROMPTS) - 1), st.sampled_from([None, None, 0, 1]), st.booleans(), st.sampled_from([1, 7, 40, 100]),
    st.integers(0, 3), st.sampled_from([None, None, None, 0, 1, 5]),
)  # fmt: skip


@settings(max_examples=25)
@given(asks=st.lists(ASK, min_size=1, max_size=12), rows=st.integers(1, 4))
def test_in_any_order_of_arrival_each_answer_is_that_of_the_engine_alone(make, adapters, alone, asks, rows):
    engine = make(rows)
    left = []
    for prompt, adapter, held, limit, pause, leaves in asks:
        pieces = engine.stream(
            PROMPTS[prompt],
            quotable=PASSAGES[prompt] if held else None,
            adapter=None if adapter is None else adapters[adapter],
            max_new_tokens=limit,
        )
        if leaves is None:
            left.append((pieces, alone(prompt, adapter, held, limit)))
        else:
            for _ in range(leaves):
                next(pieces, None)
            pieces.close()
        time.sleep(pause / 500)
    for pieces, wanted in left:
        same(finish(pieces), wanted)
    until(lambda: engine.load == (0, 0))
    engine.close()


def test_threads_get_their_own_answers(make, alone):
    engine = make(4)
    asks = [(prompt, limit) for limit in (5, 60, 100) for prompt in range(len(PROMPTS))] * 2
    with ThreadPoolExecutor(len(asks)) as pool:
        found = list(pool.map(lambda ask: finish(engine.stream(PROMPTS[ask[0]], max_new_tokens=ask[1])), asks))
    for (prompt, limit), one in zip(asks, found, strict=True):
        same(one, alone(prompt, None, False, limit))


def test_an_equal_context_is_read_once(make, engine, monkeypatch):
    continuous = make()
    read = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: read.append(k["input_ids"].shape) or forward(*a, **k))
    finish(continuous.stream(PROMPTS[0], max_new_tokens=1))
    before = len(read)
    finish(continuous.stream(PROMPTS[2], max_new_tokens=1))
    branch = engine.encode(PROMPTS[2], 1).branch
    assert read[before:] == [(1, filled(len(branch)))]


def test_a_long_prompt_is_read_in_parts_between_which_others_go_on(make, engine, alone, monkeypatch):
    monkeypatch.setattr(running, "READ_AT_ONCE", 64)
    wanted = alone(4, None, False, 7)
    continuous = make()
    go_on, step = threading.Event(), continuous._round
    begun = lambda: any(len(one.writing.ids) >= 20 for one in continuous._running)  # noqa: E731
    continuous._round = lambda: (begun() and go_on.wait(), step())  # it does not end before the other has come
    going = continuous.stream(PROMPTS[1], max_new_tokens=100)
    next(going)
    shapes = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: shapes.append(k["input_ids"].shape[1]) or forward(*a, **k))
    long = continuous.stream(PROMPTS[4], max_new_tokens=7)
    go_on.set()
    same(finish(long), wanted)
    going.close()
    parts = [place for place, size in enumerate(shapes) if size > 1]
    assert len(parts) > 3
    assert max(shapes) == 64
    assert all(after - before == 2 for before, after in itertools.pairwise(parts)), "a step lies between two parts"
    left_alone = threading.Event()
    continuous._round = lambda: (left_alone.wait(), step())
    left = continuous.stream(PROMPTS[0], max_new_tokens=7)
    until(lambda: continuous.load == (1, 0))
    left.close()
    left_alone.set()
    same(finish(continuous.stream(PROMPTS[0], max_new_tokens=7)), alone(0, None, False, 7))


def test_a_seed_gives_the_same_answer_whatever_the_neighbours(make, engine):
    continuous = make(4)
    warm = Sampling(temperature=1.2, top_p=0.95, seed=11)
    wanted = finish(engine.stream(PROMPTS[1], max_new_tokens=50, sampling=warm)).text
    assert finish(continuous.stream(PROMPTS[1], max_new_tokens=50, sampling=warm)).text == wanted
    others = [continuous.stream(PROMPTS[n], max_new_tokens=50, sampling=Sampling(temperature=2.0)) for n in (0, 3)]
    assert finish(continuous.stream(PROMPTS[1], max_new_tokens=50, sampling=warm)).text == wanted
    for pieces in others:
        finish(pieces)


def test_a_stop_text_frees_the_row(make, alone):
    continuous = make()
    whole = alone(0, None, False, 100).text
    stop = whole[4:7]
    pieces = continuous.stream(PROMPTS[0], max_new_tokens=100, sampling=Sampling(stop=(stop,)))
    found = next(piece for piece in pieces if not isinstance(piece, str))
    assert found.text == whole[: whole.index(stop)]
    assert found.finished
    until(lambda: continuous.load == (0, 0))
    until(lambda: not continuous._batch.rows)
    pieces.close()


def test_json_beside_free_answers(make, alone):
    pytest.importorskip("llguidance")
    continuous = make()
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}
    free = continuous.stream(PROMPTS[0], max_new_tokens=40)
    held = finish(continuous.stream(PROMPTS[1], max_new_tokens=40, sampling=Sampling(schema=schema)))
    assert isinstance(json.loads(held.text)["yes"], bool)
    same(finish(free), alone(0, None, False, 40))


def test_whoever_stops_listening_frees_the_row(make, endless):
    continuous = make(rows=1, waiting=1, over=endless)

    def listen_and_die():
        pieces = continuous.stream(PROMPTS[4], max_new_tokens=5000)
        next(pieces)

    leaving = [
        lambda: continuous.stream(PROMPTS[4], max_new_tokens=5000).close(),
        lambda: next(continuous.stream(PROMPTS[4], max_new_tokens=5000)) and None,
        lambda: continuous.stream(PROMPTS[4], max_new_tokens=5000) and None,
        lambda: ThreadPoolExecutor(1).submit(listen_and_die).result(),
    ]
    for leave in leaving:
        leave()
        gc.collect()
        until(lambda: continuous.load == (0, 0))
    assert finish(continuous.stream(PROMPTS[1], max_new_tokens=3)).completion_tokens == 3


def test_a_full_queue_says_at_once_when_to_come_back(make, endless):
    continuous = make(rows=1, waiting=2, over=endless)
    held = [continuous.stream(PROMPTS[4], max_new_tokens=5000) for _ in range(3)]
    until(lambda: continuous.load == (1, 2))
    with pytest.raises(BusyError, match="2 questions wait") as caught:
        continuous.stream(PROMPTS[0])
    assert 1 <= caught.value.retry_after <= 60
    held[1].close()
    again = continuous.stream(PROMPTS[0], max_new_tokens=2)
    for pieces in (held[0], held[2]):
        pieces.close()
    finish(again)


def test_an_idle_engine_without_a_queue_answers(make):
    assert finish(make(rows=1, waiting=0).stream(PROMPTS[0], max_new_tokens=2)).completion_tokens == 2


def test_a_busy_adapter_does_not_starve_another(make, adapters):
    continuous = make(rows=2)
    asked, go_on, step = threading.Event(), threading.Event(), continuous._round
    continuous._round = lambda: (asked.set(), go_on.wait(), step())  # nothing is written before all have asked
    order, end = [], continuous._end
    continuous._end = lambda one, error=None: (order.append(one.tuned), end(one, error))
    try:
        many = [continuous.stream(PROMPTS[1], adapter=adapters[0], max_new_tokens=30) for _ in range(12)]
        assert asked.wait(PATIENCE_S)
        few = [continuous.stream(PROMPTS[1], adapter=adapter, max_new_tokens=5) for adapter in (adapters[1], None)]
    finally:
        go_on.set()
    for pieces in (*many, *few):
        finish(pieces)
    assert order.index(tuned_by(adapters[1])) < 9
    assert order.index(None) < 9


def test_an_answer_that_takes_too_long_is_ended(make, endless):
    continuous = make(rows=1, timeout=0.2, over=endless)
    first = continuous.stream(PROMPTS[4], max_new_tokens=5000)
    second = continuous.stream(PROMPTS[0], max_new_tokens=5000)
    for pieces in (first, second):
        with pytest.raises(LateError, match=r"no whole answer within 0\.2 s"):
            finish(pieces)
    until(lambda: continuous.load == (0, 0))


def test_a_step_that_fails_fails_its_answers_and_the_next_ones_go_on(make, engine, alone, monkeypatch):
    continuous = make()
    forward = engine._model.forward
    with monkeypatch.context() as patched:
        patched.setattr(engine._model, "forward", lambda *a, **k: forward(*a, **k) if k["input_ids"].shape[1] > 1 else 1 / 0)
        for pieces in [continuous.stream(PROMPTS[0]), continuous.stream(PROMPTS[1])]:
            with pytest.raises(ZeroDivisionError):
                finish(pieces)
    same(finish(continuous.stream(PROMPTS[0], max_new_tokens=40)), alone(0, None, False, 40))


def no_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("step", ["reading", "writing"])
def test_where_memory_runs_out_answers_are_to_be_asked_for_again_and_the_next_ones_go_on(make, engine, alone, monkeypatch, step):
    continuous = make()
    forward = engine._model.forward

    def cramped(*args, **options):
        if (options["input_ids"].shape[1] > 1) == (step == "reading"):
            no_memory()
        return forward(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(engine._model, "forward", cramped)
        with pytest.raises(BusyError, match=r"ask again in 5 s.*lower serve\.rows") as told:
            finish(continuous.stream(PROMPTS[0]))
    assert told.value.retry_after == 5
    same(finish(continuous.stream(PROMPTS[0], max_new_tokens=40)), alone(0, None, False, 40))


def test_a_prompt_that_cannot_be_read_fails_alone(make, engine, alone, monkeypatch):
    continuous = make()
    going = continuous.stream(PROMPTS[0], max_new_tokens=100)
    next(going)
    forward = engine._model.forward
    with monkeypatch.context() as patched:
        patched.setattr(engine._model, "forward", lambda *a, **k: forward(*a, **k) if k["input_ids"].shape[1] == 1 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finish(continuous.stream(PROMPTS[1], max_new_tokens=5))
        patched.setattr(engine._model, "forward", lambda *a, **k: forward(*a, **k) if k["input_ids"].shape[1] == 1 else no_memory())
        with pytest.raises(BusyError, match="memory on cpu did not suffice"):
            finish(continuous.stream(PROMPTS[1], max_new_tokens=5))
    assert list(going)[-1].text == alone(0, None, False, 100).text


def test_what_can_be_refused_is_refused_at_once(make, tmp_path):
    continuous = make()
    with pytest.raises(ContextOverflowError):
        continuous.stream(PROMPTS[0], max_new_tokens=1000)
    with pytest.raises(ModelError, match="holds no adapter_config"):
        continuous.stream(PROMPTS[0], adapter=tmp_path)
    assert continuous.load == (0, 0)


def test_closing_ends_the_thread_and_fails_what_is_left(make, endless):
    continuous = make(rows=1, over=endless)
    left = [continuous.stream(PROMPTS[4], max_new_tokens=5000) for _ in range(2)]
    next(left[0])
    continuous.close()
    for pieces in left:
        with pytest.raises(ChatError, match="was stopped"):
            list(pieces)
    with pytest.raises(ChatError, match="was stopped"):
        continuous.stream(PROMPTS[0])
    assert "ragtune-engine" not in {thread.name for thread in threading.enumerate()}


def windowed(kind: str):
    """Tiny models whose layers see a window of the last 32 tokens, all or every other one of them."""
    shape = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 1024, "sliding_window": 32, "initializer_range": 0.4, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2, "vocab_size": len(make_tokenizer()),
    }  # fmt: skip
    torch.manual_seed(3)
    if kind == "mistral":
        return transformers.MistralForCausalLM(transformers.MistralConfig(**shape))
    if kind == "qwen2":
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape, use_sliding_window=True, max_window_layers=2))
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**shape, head_dim=8, attn_implementation="eager"))


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gemma2"])
def test_layers_that_see_a_window_see_it_in_each_row(make, kind):
    engine = HuggingFaceEngine.over(windowed(kind).eval(), make_tokenizer())
    wanted = dict(engine.generate(PROMPTS, max_new_tokens=40))
    assert len({generation.text for generation in wanted.values()}) > 1
    continuous = make(rows=5, over=engine)
    for index, pieces in enumerate([continuous.stream(prompt, max_new_tokens=40) for prompt in PROMPTS]):
        same(finish(pieces), wanted[index])


def test_a_long_prompt_gives_its_memory_back(make, endless):
    continuous = make(over=endless)
    long = build_messages("what?", [passage(5, 600)])
    wanted = dict(endless.generate([long, PROMPTS[0]], max_new_tokens=5))
    for index, prompt in enumerate((long, PROMPTS[0])):
        same(finish(continuous.stream(prompt, max_new_tokens=5)), wanted[index])
    assert continuous._batch._layers[0].all_keys.shape[2] < wanted[0].prompt_tokens


def conversation(number: int, words: int) -> list[Message]:
    said = passage(number, words).text
    return [Message("system", f"Be kind {number}."), Message("user", said), Message("assistant", "So it is."), Message("user", "Is it?")]


@pytest.fixture
def shapes(engine, monkeypatch) -> list[int]:
    """How many tokens were fed in each pass."""
    fed = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: fed.append(k["input_ids"].shape[1]) or forward(*a, **k))
    return fed


def filled(count: int) -> int:
    return -(-count // 64) * 64


def test_prompts_of_any_length_are_read_in_few_lengths(make, engine, shapes):
    chats = [[Message("user", passage(number, 20 + 3 * number).text)] for number in range(12)]
    wanted = [list(engine.stream(chat, max_new_tokens=5))[-1] for chat in chats]
    assert len({length for length in shapes if length > 1}) > 8
    continuous = make()
    del shapes[:]
    for chat, one in zip(chats, wanted, strict=True):
        same(finish(continuous.stream(chat, max_new_tokens=5)), one)
    assert all(length == 1 or length % 64 == 0 for length in shapes)


def test_where_the_model_has_no_positions_left_a_prompt_is_read_as_it_is(make, engine, shapes):
    room = engine._max_positions
    empty = len(engine.encode([Message("user", "")], 1).ids)
    chat = [Message("user", "?" * (room - 1 - empty))]
    assert 0 < room - len(engine.encode(chat, 1).ids) < 32
    wanted = list(engine.stream(chat, max_new_tokens=1))[-1]
    del shapes[:]
    same(finish(make().stream(chat, max_new_tokens=1)), wanted)
    assert sum(shapes) <= room


def test_what_was_said_before_is_read_in_parts_too(make, engine, shapes, monkeypatch):
    monkeypatch.setattr(running, "READ_AT_ONCE", 64)
    chats = [conversation(1, 60), conversation(2, 60)[1:], [Message("system", passage(3, 60).text), Message("user", "Is it?")]]
    wanted = [list(engine.stream(chat, max_new_tokens=7))[-1] for chat in chats]
    assert max(shapes) > 128
    continuous = make()
    engine._prefixes.clear()
    del shapes[:]
    for chat, one in zip(chats, wanted, strict=True):
        same(finish(continuous.stream(chat, max_new_tokens=7)), one)
    assert max(shapes) == 64


def test_conversations_do_not_drive_out_the_instructions(make, engine, shapes):
    continuous = make()
    finish(continuous.stream(PROMPTS[1], max_new_tokens=1))
    for number in range(KEPT_PREFIXES + 1):
        chat = conversation(number, 20)
        finish(continuous.stream([Message("system", "Be kind."), *chat[1:]], max_new_tokens=1))
        finish(continuous.stream(chat[1:], max_new_tokens=1))
    encoded = engine.encode(PROMPTS[0], 1)
    del shapes[:]
    finish(continuous.stream(PROMPTS[0], max_new_tokens=1))
    assert shapes == [filled(len(encoded.ids) - encoded.prefix)]


def test_of_too_many_prefixes_the_one_that_was_asked_for_least_lately_is_forgotten():
    prompts = [PromptIds((number,), (0,), 1) for number in range(KEPT_PREFIXES + 1)]
    prefixes = {}
    for prompt in prompts[:-1]:
        keep_prefix(prompt, prefixes, transformers.DynamicCache())
    kept_prefix(prompts[0], prefixes)
    keep_prefix(prompts[-1], prefixes, transformers.DynamicCache())
    assert [kept_prefix(prompt, prefixes) is not None for prompt in prompts[:3]] == [True, False, True]


def test_an_answer_takes_memory_as_it_grows_whatever_may_be_written(make, endless):
    continuous = make(over=endless)
    left = continuous.stream(PROMPTS[3], max_new_tokens=7000)
    next(left)
    assert continuous._batch._layers[0].all_keys.shape[2] < 3500
    left.close()


def test_answers_go_on_while_the_buffers_grow_and_shrink(make, endless, monkeypatch):
    monkeypatch.setattr(running, "_COLUMNS", 8)
    columns = []
    resize = running.RunningBatch._resize
    monkeypatch.setattr(running.RunningBatch, "_resize", lambda self, *a: columns.append(a[1]) or resize(self, *a))
    long = build_messages("what?", [passage(5, 120)])
    wanted = [list(endless.stream(prompt, max_new_tokens=limit))[-1] for prompt, limit in ((PROMPTS[3], 200), (long, 12), (PROMPTS[0], 40))]
    continuous = make(over=endless)
    first = continuous.stream(PROMPTS[3], max_new_tokens=200)
    first = itertools.chain([next(first)], first)
    second = continuous.stream(long, max_new_tokens=12)
    third = continuous.stream(PROMPTS[0], max_new_tokens=40)
    for pieces, one in zip((second, third, first), (wanted[1], wanted[2], wanted[0]), strict=True):
        same(finish(pieces), one)
    longest = columns.index(max(columns))
    assert wanted[1].prompt_tokens > 2 * (wanted[0].prompt_tokens + 200)
    assert max(columns) <= wanted[1].prompt_tokens + running._FILLED + 12 + 8
    assert any(2 * each < max(columns) for each in columns[longest:]), "it was given back while the first was written"
    same(finish(continuous.stream(long, max_new_tokens=12)), wanted[1])


class Panic(BaseException):
    """As Rust code's, which is no Exception."""


def test_should_the_thread_die_whoever_waits_is_told_and_the_next_one_is_answered(make, engine, alone, monkeypatch):
    continuous = make(rows=1)
    forward = engine._model.forward
    for error in (ZeroDivisionError, Panic):
        finish(continuous.stream(PROMPTS[0], max_new_tokens=1))

        def fail(*_, error=error, **__):
            raise error("it broke")

        with monkeypatch.context() as patched:
            held = [continuous.stream(prompt, max_new_tokens=100) for prompt in PROMPTS[:2]]
            patched.setattr(engine._model, "forward", lambda *a, **k: forward(*a, **k) if k["input_ids"].shape[1] > 1 else fail())
            if error is ZeroDivisionError:
                patched.setattr(engine, "running", fail)
            held.append(continuous.stream(PROMPTS[2], max_new_tokens=100))
            for pieces in held:
                with pytest.raises((ZeroDivisionError, ChatError), match="it broke"):
                    finish(pieces)
            until(lambda: continuous._thread is None)
        same(finish(continuous.stream(PROMPTS[1], max_new_tokens=7)), alone(1, None, False, 7))
        assert continuous.load == (0, 0)


def test_a_file_that_changes_under_an_adapter_is_another_adapter(make, engine, adapters, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()

    def become(other: Path) -> None:
        for file in other.iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())

    continuous = make()
    become(adapters[0])
    first = finish(continuous.stream(PROMPTS[0], adapter=folder, max_new_tokens=30)).text
    become(adapters[1])
    second = finish(continuous.stream(PROMPTS[0], adapter=folder, max_new_tokens=30)).text
    wanted = [dict(engine.generate(PROMPTS[:1], adapter=adapter, max_new_tokens=30))[0].text for adapter in adapters]
    assert [first, second] == wanted
