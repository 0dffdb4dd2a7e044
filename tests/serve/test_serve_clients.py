"""The clients that people have: OpenAI's SDKs for Python and JavaScript, and LangChain's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_project import QUESTION, Served, running

from ragtune import Project
from waiting import PATIENCE_S

openai = pytest.importorskip("openai", reason="openai is not installed")

MESSAGES = [{"role": "user", "content": QUESTION}]
JS = Path(__file__).with_name("js")


@pytest.fixture(scope="module")
def keyed(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """The project behind a key, and the key."""
    copy = tmp_path_factory.mktemp("keyed") / "handbook"
    shutil.copytree(indexed, copy)
    project = Project(copy)
    secret = project.add_key("sdk").secret
    with running(project) as server:
        yield server, secret


@pytest.fixture
def client(keyed: tuple[Served, str]) -> Iterator[openai.OpenAI]:
    server, secret = keyed
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0) as made:
        yield made


def test_python_chat(client):
    raw = client.chat.completions.with_raw_response.create(model="ragtune", messages=MESSAGES, seed=1, temperature=0, stop=["\n\n"])
    assert raw.headers["x-request-id"].startswith("req-")
    answer = raw.parse()
    assert answer.model == "first"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens > 0
    assert answer.model_extra["ragtune"]["passages"][0]["document"] == "ardmoor.md"


def test_python_stream(client):
    whole = client.chat.completions.create(model="first", messages=MESSAGES, max_completion_tokens=5)
    stream = client.chat.completions.create(
        model="first", messages=MESSAGES, max_completion_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    (told,) = [chunk.model_extra["ragtune"] for chunk in chunks if "ragtune" in (chunk.model_extra or {})]
    assert told["answer"] == whole.model_extra["ragtune"]["answer"]


def test_python_extra_fields_and_json(client):
    answer = client.chat.completions.create(
        model="base",
        messages=MESSAGES,
        max_tokens=120,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "builder",
                "schema": {
                    "type": "object",
                    "properties": {"known": {"type": "boolean"}},
                    "required": ["known"],
                    "additionalProperties": False,
                },
            },
        },
        extra_body={"ragtune": {"k": 1}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["known"], bool)
    assert len(answer.model_extra["ragtune"]["passages"]) == 1


def test_python_embeddings(client):
    texts = ["Who built the mill?", "a ferry"]
    packed = client.embeddings.create(model="ragtune", input=texts)
    listed = client.embeddings.create(model="ragtune", input=texts, encoding_format="float")
    assert [item.embedding for item in packed.data] == [pytest.approx(item.embedding) for item in listed.data]
    assert sum(value * value for value in listed.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert listed.usage.prompt_tokens > 0
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="ragtune", input="x", dimensions=7)
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(model="ragtune", input=[1, 2, 3])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="x")


def test_python_models(client):
    assert [model.id for model in client.models.list()] == ["ragtune", "base", "first"]
    assert client.models.retrieve("first").id == "first"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_python_errors(client, keyed):
    server, _ = keyed
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="ragtune", messages=MESSAGES, n=2)
    assert wrong.value.param == "n"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="rt-wrong", max_retries=0) as other, pytest.raises(openai.AuthenticationError):
        other.models.list()


def test_langchain(keyed):
    langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    server, secret = keyed
    chat = langchain_openai.ChatOpenAI(model="ragtune", base_url=f"{server.url}/v1", api_key=secret, temperature=0, max_tokens=6)
    whole = chat.invoke([("system", "Be brief."), ("human", QUESTION)])
    assert whole.content
    assert whole.usage_metadata["total_tokens"] > 0
    assert "".join(str(chunk.content) for chunk in chat.stream([("human", QUESTION)])) == chat.invoke([("human", QUESTION)]).content
    for changed, status in (({"model": "gpt-4"}, 404), ({"api_key": "rt-wrong"}, 401), ({"temperature": 3}, 400)):
        options = {"model": "ragtune", "base_url": f"{server.url}/v1", "api_key": secret, "max_retries": 0, **changed}
        for call in (lambda chat: chat.invoke("Hello"), lambda chat: list(chat.stream("Hello"))):
            with pytest.raises(openai.APIStatusError) as refused:
                call(langchain_openai.ChatOpenAI(**options))
            assert refused.value.status_code == status
    embeddings = langchain_openai.OpenAIEmbeddings(
        model="ragtune", base_url=f"{server.url}/v1", api_key=secret, check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_query("a ferry")) == 32


def test_javascript(keyed):
    node = shutil.which("node")
    if node is None or not (JS / "node_modules" / "openai").is_dir():
        pytest.skip("node or its package openai is missing: run npm install in tests/serve/js")
    server, secret = keyed
    done = subprocess.run(
        [node, JS / "client.mjs", f"{server.url}/v1", secret, QUESTION], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["stream"] == found["chat"]["choices"][0]["message"]["content"]
    assert found["chat"]["ragtune"]["passages"][0]["document"] == "ardmoor.md"
    assert found["usage"] == found["chat"]["usage"]
    assert found["models"] == ["ragtune", "base", "first"]
    assert found["dimension"] == 32
    assert found["missing"] == {"status": 404, "code": "model_not_found"}
    assert found["refused"] == 401
