"""What the catalog's models promise, looked up in the cache; a model that was not pulled is skipped, saying so."""

from __future__ import annotations

import pytest

from ragtune.errors import ModelError
from ragtune.models import CATALOG, resolve
from ragtune.prompts import end_of_turn


def cached(name: str):
    try:
        return resolve(name, allow_pull=False)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def chat():
    pytest.importorskip("transformers")
    return cached("smollm2-135m-instruct")


@pytest.fixture(scope="module")
def tokenizer(chat):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(chat)


def test_the_chat_models_turn_ends_in_its_end_token(chat, tokenizer):
    from transformers import GenerationConfig

    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end_of_turn(tokenizer) == "<|im_end|>"
    assert GenerationConfig.from_pretrained(chat).eos_token_id == tokenizer.eos_token_id == end


@pytest.mark.parametrize("text", ["Hello\n\nworld 123  é 🎉\t“quoted” <|x|>", "  42\n\n1999", "", "naïve — 日本語"])
def test_the_tokenizer_gives_texts_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


def test_each_digit_is_a_token_of_its_own(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("in  1999")) == ["in", "ĠĠ", "1", "9", "9", "9"]


def test_the_parameters_are_as_many_as_the_catalog_says(chat):
    from safetensors import safe_open

    with safe_open(chat / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 - not a dict
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    assert total == CATALOG["smollm2-135m-instruct"].parameters


def test_the_embedders_tokenizer_counts_whole_texts():
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(cached("all-minilm-l6-v2") / "tokenizer.json"))
    assert len(tokenizer.encode("word " * 300).ids) == 302
    assert len(tokenizer.encode("word").ids) == 3


def test_the_chat_model_answers_a_simple_question(chat):
    pytest.importorskip("torch")
    from ragtune.engine.huggingface import HuggingFaceEngine
    from ragtune.types import Message

    engine = HuggingFaceEngine(chat, device="cpu")
    prompt = [Message("system", "You are helpful."), Message("user", "Question: What is the capital of France?")]
    ((_, generation),) = engine.generate([prompt], max_new_tokens=20)
    assert "Paris" in generation.text
    assert generation.finished
