"""The requests and answers of OpenAI's API, as far as they mean something here. What a request has beyond is passed over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ragtune.serve.records import AnswerBody, Body

LONGEST = 500_000
"""Letters of one message."""
StopText = Annotated[str, Field(max_length=1000)]
"""Each is looked for whenever the model writes a piece."""


class Asked(BaseModel):
    """Base of requests: types are kept to, and fields that OpenAI's API has and this one does not are passed over."""

    model_config = ConfigDict(strict=True)


class TextPart(Asked):
    """Text, as one of a message's parts."""

    type: Literal["text"]
    text: str = Field(max_length=LONGEST)


class ChatMessage(Asked):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, Field(max_length=LONGEST)] | Annotated[list[TextPart], Field(min_length=1, max_length=100)] | None = Field(
        None, validate_default=True, description="null is for an assistant that called tools; what tools said is passed over."
    )

    @field_validator("content")
    @classmethod
    def _only_who_calls_tools_says_nothing(cls, content: Any, info: ValidationInfo) -> Any:
        if content is None and info.data.get("role") not in ("assistant", "tool"):
            raise PydanticCustomError("content", "the content of a message is text")
        return content

    @property
    def text(self) -> str:
        """Its words."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text for part in self.content)


class StreamOptions(Asked):
    """What a stream tells besides."""

    include_usage: bool = False


class JsonSchema(Asked):
    """The form of an answer."""

    name: str = Field("answer", max_length=64)
    schema_: dict[str, JsonValue] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class TextFormat(Asked):
    """An answer in words."""

    type: Literal["text"]


class JsonObjectFormat(Asked):
    """An answer that is one JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(Asked):
    """An answer that fulfils a JSON schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RagtuneOptions(BaseModel):
    """ragtune's own part of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    k: int | None = Field(None, ge=1, le=50, description="Passages shown; null: as many as the model was tuned with.")
    source: str | None = Field(None, max_length=1000, description="Only documents like this pattern, as guides/*.")
    media_type: str | None = Field(None, max_length=200, description="Only media types like this pattern, as text/*.")
    retrieve: bool = Field(True, description="false chats with the model as it is, without documents.")
    conversation: str | None = Field(None, max_length=200, description="Goes into the trace.")


class ChatRequest(Asked):
    """A chat completion that is wanted."""

    model: str = Field("ragtune", min_length=1, max_length=300, description="ragtune, base, a tuned model's name, or provider:model.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    temperature: float | None = Field(None, ge=0, le=2, description="null or 0: the greedy answer, as it is evaluated.")
    top_p: float | None = Field(None, gt=0, le=1)
    response_format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    n: int | None = Field(None, ge=1, le=1)
    logprobs: Literal[False] | None = None
    # Tools that are offered are passed over: a model may do without them. Open WebUI offers its own with every message.
    tool_choice: Literal["none", "auto"] | None = Field(None, description="No tool is called, so none can be demanded.")
    function_call: Literal["none", "auto"] | None = Field(None, description="As tool_choice.")
    ragtune: RagtuneOptions | None = None


class CompletionUsage(Body):
    """Tokens of a completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionMessage(Body):
    """The answer as a message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None


class Choice(Body):
    """The one choice."""

    index: Literal[0] = 0
    message: CompletionMessage
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(Body):
    """A finished completion; ``ragtune`` is beside what OpenAI's has."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    ragtune: AnswerBody


class EmbeddingRequest(Asked):
    """Vectors that are wanted."""

    input: (
        Annotated[str, Field(min_length=1, max_length=LONGEST)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST)]], Field(min_length=1, max_length=2048)]
    ) = Field(description="A text or a list of texts; token ids are refused.")
    model: str = Field("ragtune", max_length=300, description="ragtune, or the project's embed.model.")
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(None, ge=1, description="Must be the embedder's own.")


class EmbeddingItem(Body):
    """One vector; base64 is of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Body):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Body):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


class ModelItem(Body):
    """A model that can be asked by name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(Body):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelItem]


def schema_of(asked: ChatRequest) -> dict[str, Any] | None:
    """The JSON schema that an answer is to fulfil; ``{}`` is any object, ``None`` words."""
    match asked.response_format:
        case JsonSchemaFormat(json_schema=given):
            return dict(given.schema_)
        case JsonObjectFormat():
            return {}
        case _:
            return None
