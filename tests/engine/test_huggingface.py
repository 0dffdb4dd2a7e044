from __future__ import annotations

import math
import threading

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from ragtune.engine.huggingface import HuggingFaceEngine  # noqa: E402
from ragtune.errors import ContextOverflowError, ModelError  # noqa: E402
from ragtune.prompts import build_completion, build_messages, encode_completion, encode_prompt  # noqa: E402
from ragtune.types import Passage, Span  # noqa: E402

# PEFT still reads a property that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def passage(number: int, words: int) -> Passage:
    text = " ".join(f"word{(number * 7 + i) % 23}é" for i in range(words))
    return Passage(f"p{number}", "d", "t", "T", text, (Span("d", 0, len(text)),), (f"c{number}",))


PROMPTS = [
    build_messages("what is it?", [passage(1, 20), passage(2, 5)]),
    build_messages("who was it?", [passage(3, 2)]),
    build_messages("when, then?", [passage(1, 20), passage(2, 5)]),
    build_messages("what is it?", None),
    build_messages("what is it?", [passage(1, 20), passage(2, 5)]),
    build_messages("why?", []),
    build_messages("how many of them were there in the end?", [passage(4, 30)]),
]


@pytest.fixture(scope="module")
def engine(tiny) -> HuggingFaceEngine:
    return HuggingFaceEngine(tiny, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def reference(tiny):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()


def written_by_transformers(model, tokenizer, prompt, limit: int) -> list[int]:
    ids = torch.tensor([encode_prompt(tokenizer, prompt).ids])
    with torch.no_grad():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False)
    return output[0, ids.shape[1] :].tolist()


def texts(engine, prompts, **options) -> list[str]:
    answers = dict(engine.generate(prompts, **options))
    return [answers[index].text for index in range(len(prompts))]


def test_answers_are_those_of_transformers(engine, reference):
    for prompt, (_, generation) in zip(PROMPTS, sorted(engine.generate(PROMPTS, max_new_tokens=24, batch_size=3)), strict=True):
        ids = written_by_transformers(reference, engine.tokenizer, prompt, 24)
        ended = ids[-1] == 2
        assert generation.text == engine.tokenizer.decode(ids, skip_special_tokens=True)
        assert generation.completion_tokens == len(ids) - ended
        assert generation.finished == ended
        assert generation.prompt_tokens == len(encode_prompt(engine.tokenizer, prompt).ids)
        assert generation.seconds > 0


def test_some_answers_end_by_themselves_and_some_at_the_limit(engine):
    finished = {generation.finished for _, generation in engine.generate(PROMPTS, max_new_tokens=128)}
    assert finished == {True, False}, "the other tests would prove less: choose another seed for the tiny model"


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_batches_answer_as_single_prompts_do(engine, batch_size):
    alone = [texts(engine, [prompt], max_new_tokens=128)[0] for prompt in PROMPTS]
    assert texts(engine, PROMPTS, max_new_tokens=128, batch_size=batch_size) == alone


def test_streamed_pieces_joined_are_the_answer(engine):
    for prompt, text in zip(PROMPTS, texts(engine, PROMPTS, max_new_tokens=60), strict=True):
        *pieces, whole = engine.stream(prompt, max_new_tokens=60)
        assert "".join(pieces) == whole.text == text
        assert all(pieces)


def test_the_log_probability_is_that_of_what_was_written_whatever_was_allowed(engine):
    wanted = encode_completion(engine.tokenizer, "abc")
    *_, written = engine.stream(PROMPTS[0], constraint=lambda ids: [wanted[len(ids)]])
    ((nll, _),) = engine.nll([(PROMPTS[0], "abc")])
    assert written.text == "abc"
    assert written.finished
    assert written.logprob == pytest.approx(-nll, abs=1e-2)


def test_streamed_pieces_never_break_a_character(engine):
    wanted = [*engine.tokenizer.encode("é€😀x", add_special_tokens=False), 2]
    *pieces, _ = engine.stream(PROMPTS[0], constraint=lambda ids: [wanted[len(ids)]])
    assert pieces == ["é", "€", "😀", "x"]


def test_equal_prompts_are_answered_once(engine, monkeypatch):
    calls = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: calls.append(k["input_ids"].shape) or forward(*a, **k))
    answers = dict(engine.generate([PROMPTS[1]] * 4, max_new_tokens=3))
    assert sorted(answers) == [0, 1, 2, 3]
    assert len({generation.text for generation in answers.values()}) == 1
    assert all(shape[0] == 1 for shape in calls)


def test_a_shared_context_is_read_once(engine, monkeypatch):
    read = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: read.append(k["input_ids"].numel()) or forward(*a, **k))
    first, second = (encode_prompt(engine.tokenizer, PROMPTS[index]) for index in (0, 2))
    engine._prefixes.clear()
    list(engine.generate([PROMPTS[0], PROMPTS[2]], max_new_tokens=1))
    assert sum(read) == len(first.context) + len(first.branch) + len(second.branch)


def test_instructions_and_worked_examples_are_read_once_for_all_batches(engine, monkeypatch):
    read = []
    forward = engine._model.forward
    monkeypatch.setattr(engine._model, "forward", lambda *a, **k: read.append(k["input_ids"].numel()) or forward(*a, **k))
    first, second = (encode_prompt(engine.tokenizer, PROMPTS[index]) for index in (0, 1))
    assert first.prefix > 0
    assert first.context[: first.prefix] == second.context[: second.prefix]
    engine._prefixes.clear()
    list(engine.generate([PROMPTS[0]], max_new_tokens=1))
    list(engine.generate([PROMPTS[1]], max_new_tokens=1))
    assert sum(read) == len(first.ids) + len(second.ids) - second.prefix


def test_abstain_logodds_are_those_of_the_first_token(engine, reference):
    token = encode_completion(engine.tokenizer, build_completion(None))[0]
    for prompt, (_, generation) in zip(PROMPTS, sorted(engine.generate(PROMPTS, max_new_tokens=1)), strict=True):
        with torch.no_grad():
            logits = reference(torch.tensor([encode_prompt(engine.tokenizer, prompt).ids])).logits[0, -1].double()
        p = float(logits.softmax(-1)[token])
        assert generation.abstain_logodds == pytest.approx(math.log(p) - math.log1p(-p), abs=1e-4)


def test_adapters_answer_as_peft_does_and_leave_the_base_untouched(engine, reference, adapters):
    before = texts(engine, PROMPTS, max_new_tokens=16)
    seen = [before]
    for adapter in (*adapters, adapters[0]):
        found = texts(engine, PROMPTS, adapter=adapter, max_new_tokens=16)
        wrapped = peft.PeftModel.from_pretrained(reference, str(adapter))
        expected = [written_by_transformers(wrapped, engine.tokenizer, prompt, 16) for prompt in PROMPTS]
        wrapped.unload()
        assert found == [engine.tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
        seen.append(found)
    assert seen[1] == seen[3]
    assert len({tuple(answers) for answers in seen}) == 3
    assert texts(engine, PROMPTS, max_new_tokens=16) == before
    for name, parameter in reference.named_parameters():
        assert torch.equal(parameter, engine._model.get_parameter(name))


def test_an_adapter_is_loaded_once(engine, adapters, monkeypatch):
    texts(engine, PROMPTS[:1], adapter=adapters[0], max_new_tokens=1)
    texts(engine, PROMPTS[:1], adapter=adapters[1], max_new_tokens=1)
    monkeypatch.setattr(peft.PeftModel, "from_pretrained", lambda *_: pytest.fail("loaded again"))
    for adapter in (adapters[0], None, adapters[1], adapters[0]):
        texts(engine, PROMPTS[:1], adapter=adapter, max_new_tokens=1)


def test_streams_of_different_adapters_may_run_at_once(engine, adapters):
    wanted = {adapter: texts(engine, PROMPTS[:1], adapter=adapter, max_new_tokens=40)[0] for adapter in (None, *adapters)}
    found = {}

    def run(adapter):
        *pieces, _ = engine.stream(PROMPTS[0], adapter=adapter, max_new_tokens=40)
        found[adapter] = "".join(pieces)

    threads = [threading.Thread(target=run, args=(adapter,)) for adapter in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_nll_is_the_completions_cross_entropy(engine, reference, adapters):
    completions = ["Answer: the capital", "x", build_completion(None), "Answer: é", "the", "a b c d", "Answer: what"]
    pairs = list(zip(PROMPTS, completions, strict=True))
    for adapter in (None, adapters[1]):
        model = reference if adapter is None else peft.PeftModel.from_pretrained(reference, str(adapter))
        found = engine.nll(pairs, adapter=adapter, batch_size=3)
        for (prompt, completion), (value, tokens) in zip(pairs, found, strict=True):
            head = encode_prompt(engine.tokenizer, prompt).ids
            tail = encode_completion(engine.tokenizer, completion)
            with torch.no_grad():
                scores = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
            expected = -sum(float(scores[len(head) - 1 + i, token]) for i, token in enumerate(tail))
            assert tokens == len(tail)
            assert value == pytest.approx(expected, rel=1e-4)
        if adapter is not None:
            model.unload()


def test_an_answer_that_does_not_fit_is_an_error_that_says_what_to_lower(engine):
    with pytest.raises(ContextOverflowError, match=r"1024 positions: show fewer or shorter passages"):
        list(engine.generate([PROMPTS[0]], max_new_tokens=1000))


def test_a_folder_without_an_adapter_is_a_model_error(engine, tmp_path):
    with pytest.raises(ModelError, match=r"holds no adapter_config\.json"):
        list(engine.generate([PROMPTS[0]], adapter=tmp_path))


def test_an_adapter_of_another_base_is_a_model_error_and_the_engine_goes_on(engine, adapters, tmp_path):
    from safetensors.torch import load_file, save_file

    before = texts(engine, PROMPTS[:1], max_new_tokens=8)
    (tmp_path / "adapter_config.json").write_bytes((adapters[0] / "adapter_config.json").read_bytes())
    weights = {name: torch.ones(w.shape[0], w.shape[1] + 1) for name, w in load_file(adapters[0] / "adapter_model.safetensors").items()}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="does not fit this base model"):
        list(engine.generate([PROMPTS[0]], adapter=tmp_path))
    assert texts(engine, PROMPTS[:1], max_new_tokens=8) == before


def test_a_model_without_a_chat_template_is_a_model_error(engine, tiny, tmp_path):
    for file in tiny.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="no chat template"):
        HuggingFaceEngine(tmp_path, device="cpu")


def test_an_empty_folder_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="cannot load model"):
        HuggingFaceEngine(tmp_path, device="cpu")


def test_bfloat16_answers_come_too(tiny):
    engine = HuggingFaceEngine(tiny, device="cpu", dtype="bfloat16")
    assert len(dict(engine.generate(PROMPTS, max_new_tokens=4))) == len(PROMPTS)


@pytest.fixture
def cramped(tiny):
    """An engine with memory for two rows; and how often it was asked for more."""
    engine, refused = HuggingFaceEngine(tiny, device="cpu", dtype="float32"), []

    def refuse(_model, _args, options):
        if options["input_ids"].shape[0] > 2:
            refused.append(options["input_ids"].shape[0])
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine._model.register_forward_pre_hook(refuse, with_kwargs=True)
    return engine, refused


def test_where_memory_does_not_suffice_fewer_are_answered_together(engine, cramped):
    own, refused = cramped
    expected = texts(engine, PROMPTS, max_new_tokens=24, batch_size=2)
    assert texts(own, PROMPTS, max_new_tokens=24, batch_size=6) == expected
    assert refused == [6, 3], "the prompts are seven, of which two are equal"
    assert texts(own, PROMPTS, max_new_tokens=24, batch_size=6) == expected
    assert refused == [6, 3], "the size that was found is kept"
    pairs = [(prompt, "an answer") for prompt in PROMPTS]
    for found, wanted in zip(own.nll(pairs, batch_size=7), engine.nll(pairs, batch_size=2), strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)


def test_a_prompt_that_memory_does_not_suffice_for_is_refused_with_what_to_do(engine):
    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = engine._model.register_forward_pre_hook(refuse)
    try:
        for asking in (lambda: list(engine.generate(PROMPTS)), lambda: list(engine.stream(PROMPTS[0]))):
            with pytest.raises(ModelError, match=r"one text of .* tokens: end what else uses it"):
                asking()
    finally:
        hook.remove()
