"""Tiny random models: every part is real (tokenizer, chat template, weights on disk), only the weights mean nothing."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SAID = "Answer: not in the passages. Question: what is the capital of the country? the answer"
UNKNOWN = "[UNK]"
SPECIAL = dict(zip(("bos_token", "eos_token", "pad_token"), ("<|im_start|>", "<|im_end|>", "<|im_end|>"), strict=True))


def make_tokenizer(texts: Iterable[str] = (_SAID,), size: int = 400) -> Any:
    """A byte-level BPE tokenizer with ChatML's template; the better it knows what is written, the fewer tokens that is."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*texts] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, chat_template=TEMPLATE)


def make_model(vocabulary: int, seed: int = 10, positions: int = 1024, width: int = 32, spread: float = 0.4) -> Any:
    """A Llama of three thin layers.

    Args:
        vocabulary: tokens.
        seed: of the weights.
        positions: longest text.
        width: of the hidden states.
        spread: standard deviation of the weights: large ones make the greedy path wander instead of repeating one token.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=spread,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config).eval()


def save_chat_model(folder: Path, positions: int = 1024) -> Path:
    """A chat model as ``save_pretrained`` leaves it."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(len(tokenizer), positions=positions).save_pretrained(folder)
    return folder


def save_learner(folder: Path, texts: Iterable[str]) -> Path:
    """A chat model that learns a few answers by heart in a minute: it has room, and its tokenizer knows the texts' words."""
    tokenizer = make_tokenizer(texts, size=2000)
    tokenizer.save_pretrained(folder)
    make_model(len(tokenizer), positions=2048, width=64, spread=0.2).save_pretrained(folder)
    return folder


def save_embedder(folder: Path, texts: Iterable[str]) -> Path:
    """A sentence-transformers model with a vocabulary of the words of some texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = string.ascii_lowercase + string.digits + ".,?"
    words = {word for text in texts for word in re.findall(r"\w+", text.lower())} - set(letters)
    # Written down rather than trained: training a vocabulary gives another order each time.
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *sorted(words)]
    tokenizer = Tokenizer(models.WordPiece({token: number for number, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep")}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(fast), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=256
    )
    BertModel(config).save_pretrained(folder / "raw")
    fast.save_pretrained(folder / "raw")
    transformer = Transformer(str(folder / "raw"), max_seq_length=256)
    SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="mean"), Normalize()], device="cpu").save(str(folder / "model"))
    return folder / "model"
