"""Chat templates: a tokenizer with the one that was asked for, looked over before anything is trained or answered with it.

A template that loses a word of the prompt, or an end of turn that nothing stops at, shows in no error: the model only answers badly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragtune.errors import ModelError
from ragtune.prompts import end_of_turn, render
from ragtune.types import Message

_SYSTEM = 'Answer it. Write "so",  and no more.'
_USER = '[1] Title\none  two\tthree\n\n| a | b |\n"four" <five> & six — sept\u00a0é\nQuestion: seven?'
_ANSWER = '"one  two"\nAnswer: seven & 8'
_SET = "set model.chat_template to a .jinja file with the template that it was trained with"
_MEND = f"choose another model, or {_SET}"


def load_tokenizer(model: str | Path, template: str | None = None) -> Any:
    """A model's tokenizer, with its own chat template or another.

    Args:
        model: folder, or ``organisation/model`` of a hub.
        template: Jinja text; ``None`` is the model's own.

    Raises:
        ModelError: prompts cannot be written with the template; names what is wrong with it.
        OSError: there is no tokenizer; or ValueError, as transformers has it.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    if template is not None:
        tokenizer.chat_template = template
    check_template(tokenizer, f"model {model}" if template is None else "model.chat_template")
    return tokenizer


def check_template(tokenizer: Any, whose: str) -> None:
    """Refuse a template that cannot carry ragtune's prompts.

    Args:
        tokenizer: with the template.
        whose: it is, for messages.

    Raises:
        ModelError: there is none, or it drops or changes what it is given, does not begin the answer, or ends it in no stop token.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            f"{whose} has no chat template: choose an instruction-tuned (instruct, chat) model, or {_MEND.partition('or ')[2]}"
        )
    said = [Message("system", _SYSTEM), Message("user", _USER)]
    told, asked = render(tokenizer, said), render(tokenizer, said, ask=True)
    whole = render(tokenizer, [*said, Message("assistant", _ANSWER)])
    for words, text, what in ((_SYSTEM, asked, "system"), (_USER, asked, "user's"), (_ANSWER, whole, "assistant's")):
        if words not in text:
            lost = "leaves out" if words.split()[0].casefold() not in text.casefold() else "changes"
            raise ModelError(f"the chat template of {whose} {lost} the {what} message: {_MEND}")
    opening = whole[whole.index(_USER) + len(_USER) : whole.rindex(_ANSWER)]
    if asked == told and asked[asked.index(_USER) + len(_USER) :].strip() != opening.strip():
        raise ModelError(f"the chat template of {whose} ignores add_generation_prompt, so that no answer is begun: {_MEND}")
    end = end_of_turn(tokenizer)
    if not end:
        raise ModelError(f"the chat template of {whose} does not end the assistant's turn, and there is no end token: {_MEND}")
    if len(tokenizer.encode(end, add_special_tokens=False)) != 1:
        raise ModelError(f"the chat template of {whose} ends the assistant's turn in {end!r}, which is no token that can stop it: {_MEND}")
