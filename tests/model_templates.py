"""Chat templates of families of models, each with a small real tokenizer that knows the family's special tokens.

They are written anew, after what each family's model card documents of its format; the rendered chats beside them are what a test holds
them to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ragtune.types import Message

CHAT = (Message("system", "Be brief."), Message("user", "Who?\n\nQuestion: Who?"), Message("assistant", "Ann."))


@dataclass(frozen=True)
class Family:
    """A chat format.

    Args:
        name: of the family.
        source: where it is documented.
        special: its special tokens.
        bos: first token of a chat.
        eos: end token of the tokenizer, which need not end a turn.
        template: in Jinja.
        asked: how system and user of :data:`CHAT` are written, up to where the answer begins.
        end: how its answer ends.
    """

    name: str
    source: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    template: str
    asked: str
    end: str


_ROLES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
)
_CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_CHATML_ASKED = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?\n\nQuestion: Who?<|im_end|>\n<|im_start|>assistant\n"
FAMILIES = (
    Family(
        "ChatML (Qwen2.5, SmolLM2)",
        "https://huggingface.co/Qwen/Qwen2.5-0.5B-Instruct",
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        None,
        "<|im_end|>",
        _CHATML + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        _CHATML_ASKED,
        "<|im_end|>",
    ),
    Family(
        "ChatML with thoughts (Qwen3)",
        "https://huggingface.co/Qwen/Qwen3-0.6B",
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"),
        None,
        "<|im_end|>",
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.last %}"
        "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
        _CHATML_ASKED + "<think>\n\n</think>\n\n",
        "<|im_end|>",
    ),
    Family(
        "Llama 3",
        "https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim }}"
        "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "Who?\n\nQuestion: Who?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    Family(
        "Mistral, without a system turn",
        "https://docs.mistral.ai/guides/tokenization/",
        ("<s>", "</s>", "[INST]", "[/INST]"),
        "<s>",
        "</s>",
        "{{ bos_token }}" + _ROLES + "{{ '[INST]' + m.content + '[/INST]' if m.role == 'user' else m.content + eos_token }}{% endfor %}",
        "<s>[INST]Be brief.\n\nWho?\n\nQuestion: Who?[/INST]",
        "</s>",
    ),
    Family(
        "Gemma, without a system turn",
        "https://ai.google.dev/gemma/docs/core/prompt-structure",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + _ROLES
        + "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        "<bos><start_of_turn>user\nBe brief.\n\nWho?\n\nQuestion: Who?<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
    ),
    Family(
        "Phi-3.5, which ends a chat in a second token",
        "https://huggingface.co/microsoft/Phi-3.5-mini-instruct",
        ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        None,
        "<|endoftext|>",
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nWho?\n\nQuestion: Who?<|end|>\n<|assistant|>\n",
        "<|end|>",
    ),
)  # fmt: skip


def make_family_tokenizer(family: Family) -> Any:
    """A byte-level BPE tokenizer with the family's special tokens and template."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True) for text in family.special]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words = 'Answer: not in the passages.\nQuestion: what is it?\n\n[1] A › B\n"the words"\nClosest sentences:\n- the end\n\n'
    tokenizer.train_from_iterator([words] * 4, trainer)
    named = {"eos_token": family.eos, **({"bos_token": family.bos} if family.bos else {})}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, chat_template=family.template)
    fast.add_special_tokens({"additional_special_tokens": [text for text in family.special if text not in named.values()]})
    return fast
