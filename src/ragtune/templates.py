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
_SECOND_USER, _SECOND_ANSWER = "Question: nine  or ten?", "Answer: eleven"
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
    answered = [*said, Message("assistant", _ANSWER)]
    told, asked = render(tokenizer, said), render(tokenizer, said, ask=True)
    whole = render(tokenizer, answered)
    for words, text, what in ((_SYSTEM, asked, "system"), (_USER, asked, "user's"), (_ANSWER, whole, "assistant's")):
        if words not in text:
            lost = "leaves out" if words.split()[0].casefold() not in text.casefold() else "changes"
            raise ModelError(f"the chat template of {whose} {lost} the {what} message: {_MEND}")
    again = [Message("user", _SECOND_USER), Message("assistant", _SECOND_ANSWER)]
    turns = _between(render(tokenizer, [*answered, *again]), (_SYSTEM,), (_USER, _ANSWER, _SECOND_USER, _SECOND_ANSWER), whose)
    if turns[1].strip() == turns[2].strip():
        raise ModelError(f"the chat template of {whose} does not tell the user's turns from the assistant's: {_MEND}")
    (opening,) = _between(whole, (_SYSTEM,), (_USER, _ANSWER), whose)[1:-1]
    begun = asked[asked.index(_USER) + len(_USER) :]
    whole_opening, part = opening.strip(), begun.strip()
    if part != whole_opening and (asked == told or not (part.startswith(whole_opening) or whole_opening.startswith(part))):
        how = (
            "ignores add_generation_prompt, so that no answer is begun"
            if asked == told
            else "begins an answer otherwise than it writes one"
        )
        raise ModelError(f"the chat template of {whose} {how}: {_MEND}")
    end = end_of_turn(tokenizer)
    if not end:
        raise ModelError(f"the chat template of {whose} does not end the assistant's turn, and there is no end token: {_MEND}")
    if len(tokenizer.encode(end, add_special_tokens=False)) != 1:
        raise ModelError(f"the chat template of {whose} ends the assistant's turn in {end!r}, which is no token that can stop it: {_MEND}")


def _between(text: str, somewhere: tuple[str, ...], in_order: tuple[str, ...], whose: str) -> list[str]:
    """What a rendered chat writes before, between and behind some messages, each of which has to stand there once, one after the other."""
    parts, rest = [], text
    for words in (*somewhere, *in_order):
        if (count := text.count(words)) != 1:
            how = "leaves out an earlier turn" if not count else "writes a turn more than once"
            raise ModelError(f"the chat template of {whose} {how} of a chat of several: {_MEND}")
    for words in in_order:
        before, found, rest = rest.partition(words)
        if not found:
            raise ModelError(f"the chat template of {whose} changes the order of the turns: {_MEND}")
        parts.append(before)
    return [*parts, rest]
