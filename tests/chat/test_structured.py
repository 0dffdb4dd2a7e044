"""Answers in a form, from models that write around it, break it, decline or never give it."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, Field
from vendor_words import ASKED

from faults import openai_reply
from ragtune.errors import RefusalError, StructureError
from ragtune.types import Message

pytest.importorskip("json_repair")

from ragtune.chat.structured import ask_for


class City(BaseModel):
    capital: str = Field(description="the city")
    people: int = Field(description="how many, as a number")


class Part(BaseModel):
    title: str = "x"


class Nested(BaseModel):
    parts: list[Part]
    other: Part | None = None


PARIS = City(capital="Paris", people=2)
JSON = '{"capital": "Paris", "people": 2}'


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"Sure! Here it is:\n```json\n{JSON}\n```\nAnything else?",
        f"I use {{curly braces}} and {{}} first. {JSON} and {{more}}",
        f"{JSON}\n{JSON.replace('Paris', 'Rome')}",
        "{'capital': 'Paris', 'people': 2,}",
        '{"capital": "Paris", "people": 2',
        '{"capital": "Paris", "people": "2"}',
        f'{{"capital": 1}} No, wait: {JSON}',
    ],
)
def test_the_form_is_found_in_what_was_written(text, faults, openai_chat):
    faults.script(openai_reply(text))
    assert ask_for(openai_chat(), ASKED, City) == PARIS
    assert len(faults.requests) == 1


def test_a_model_is_shown_what_is_wrong_and_asked_again(faults, openai_chat):
    faults.script(openai_reply('{"capital": "Paris", "people": "many"}'), openai_reply(JSON))
    assert ask_for(openai_chat(), ASKED, City) == PARIS
    turns = faults.requests[1].body["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert "people: Input should be a valid integer" in turns[-1]["content"]


@pytest.mark.parametrize("text", ["I cannot.", "", "[1, 2]", '"text"', "{}"])
def test_a_model_that_never_gives_it_is_an_error_that_says_what_was_wrong(text, faults, openai_chat):
    faults.script(openai_reply(text))
    with pytest.raises(StructureError, match="compatible:m: the answer is not the JSON that was asked for"):
        ask_for(openai_chat(), ASKED, City, repairs=2)
    assert len(faults.requests) == 3


def test_half_an_answer_is_not_mended_into_a_whole_one(faults, openai_chat):
    faults.script(openai_reply('{"people": 2, "capital": "Par', finish="length"), openai_reply(JSON))
    assert ask_for(openai_chat(), ASKED, City, max_tokens=7) == PARIS
    assert "cut off at 7 tokens" in faults.requests[1].body["messages"][-1]["content"]


def test_a_whole_form_before_the_limit_counts(faults, openai_chat):
    faults.script(openai_reply(f"{JSON} and then I went on and", finish="length"))
    assert ask_for(openai_chat(), ASKED, City) == PARIS


def test_a_refusal_stays_one(faults, openai_chat):
    faults.script(openai_reply(None, refusal="I will not."))
    with pytest.raises(RefusalError):
        ask_for(openai_chat(), ASKED, City)
    assert len(faults.requests) == 1


def test_schemas_are_closed_at_every_depth_as_strict_servers_want_them(faults, openai_chat):
    faults.script(openai_reply('{"parts": [{"title": "a"}], "other": null}'))
    assert ask_for(openai_chat(), ASKED, Nested) == Nested(parts=[Part(title="a")])
    schema = faults.requests[0].body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["parts", "other"]
    part = schema["$defs"]["Part"]
    assert part == {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"], "additionalProperties": False}
    assert '"default"' not in json.dumps(schema)


def test_a_real_server_gives_the_form(llama_server):
    pytest.importorskip("openai")
    from ragtune.chat.openai import OpenAIChat

    chat = OpenAIChat("compatible:m", llama_server.model, base_url=llama_server.url, api_key=llama_server.key)
    assert ask_for(chat, [Message("user", "What is the capital of France?")], City, max_tokens=100).capital
