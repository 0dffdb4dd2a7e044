"""The settings by section; a docstring for each, with its unit."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ragtune.errors import ConfigError
from ragtune.hosted.providers import split_name
from ragtune.types import Arm, Context


def _check_name(name: str | None) -> str | None:
    """Before hours of work, not when the model is asked for at last."""
    try:
        split_name(name or "")
    except ConfigError as error:
        raise PydanticCustomError("model_name", "{why}", {"why": str(error)}) from None
    return name


def is_address(item: str) -> bool:
    """Whether something to ingest is an address, as ``https://host/page``, and no path."""
    return "://" in item


class Section(BaseModel):
    """Base of the sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PrepareSettings(Section):
    """Reading, cleaning and cutting documents."""

    timeout: float = Field(60.0, gt=0)
    """Seconds that a parser may take for one file."""
    memory: int = Field(2048, ge=256)
    """MiB that a parser process may use."""
    id_field: str | None = None
    """Field of a row or record (CSV, JSON, JSON Lines, Parquet) that names its document; unset: id, or its number."""
    title_field: str | None = None
    """Field that is its document's title; unset: title, name or headline."""
    text_fields: tuple[str, ...] = ()
    """Fields that are its document's text, in this order; the others become metadata. Unset: text, content or body, else all fields."""
    near_duplicates: float = Field(0.9, gt=0, le=1)
    """Jaccard similarity of 5-word shingles above which a document is dropped as a near-duplicate; 1 drops exact copies only."""
    chunk_size: int = Field(96, ge=32)
    """Tokens in a chunk, heading prefix not counted; prefix and chunk together stay within the embedder's window."""
    chunk_overlap: int = Field(0, ge=0)
    """Tokens that neighbouring chunks of one section share; fewer than chunk_size."""
    tokenizer: str | None = None
    """Catalog id or folder whose tokenizer counts a chunk's tokens; unset: the embedder's own, for a hosted one all-minilm-l6-v2's."""

    include: tuple[str, ...] = ()
    """Only files whose path under the documents fits one of these patterns, as "*.pdf" or "guides/*" (* passes folders too); empty: all."""
    exclude: tuple[str, ...] = ()
    """Files whose path fits one of these patterns are left out."""
    smallest: int = Field(0, ge=0)
    """Bytes; smaller files are left out."""
    largest: int | None = Field(None, ge=1)
    """Bytes; larger files are left out; unset: none."""
    modified_since: date | None = None
    """Files last modified before this day (YYYY-MM-DD, local time) are left out; unset: none."""
    languages: tuple[str, ...] = ()
    """Only documents in these languages (ISO 639-1, as "en"), and those whose language cannot be told, as of short texts; empty: all."""
    metadata: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Metadata by pattern of documents' names, above what their files say, as {"hr/*" = {access = ["hr"]}}; later patterns count more."""
    boilerplate: bool = True
    """Drop lines that web pages and print-outs carry around their text, as "Skip to content" and "All rights reserved"."""
    mojibake: bool = True
    """Repair letters that were decoded wrongly, as "cafÃ©"."""
    hyphenation: bool = True
    """Put words together that are broken by a hyphen at a line's end, where the text shows that they are one word."""
    repeated_lines: bool = True
    """Of texts with page breaks, drop page numbers and all but the first of heads and feet that return on half of the pages."""
    control_characters: bool = True
    """Drop control characters, bidirectional overrides and byte order marks."""

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for language in languages:
            if not re.fullmatch("[a-z]{2}", language):
                raise PydanticCustomError("language", "write each as its two letters, like en", {})
        return languages

    @field_validator("metadata")
    @classmethod
    def _access_is_a_list_of_tags(cls, metadata: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        for pattern, given in metadata.items():
            access = given.get("access", [])
            tags = [access] if isinstance(access, str) else access
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise PydanticCustomError("access", 'for "{pattern}" write access as a list of tags, like ["hr"]', {"pattern": pattern})
        return metadata

    @field_validator("chunk_overlap")
    @classmethod
    def _overlap_leaves_something_new(cls, overlap: int, known: ValidationInfo) -> int:
        size = known.data.get("chunk_size")
        if size is not None and overlap >= size:
            raise PydanticCustomError("overlap", "it must be less than prepare.chunk_size, which is {size}", {"size": size})
        return overlap


class WebSettings(Section):
    """Reading web pages and sitemaps, where http:// or https:// addresses stand among the documents."""

    pages: int = Field(1000, ge=1)
    """Most pages of one sitemap; those beyond, in its order, are left out."""
    largest: int = Field(20_000_000, ge=1)
    """Bytes of one page or sitemap, unpacked; larger ones are not read."""
    timeout: float = Field(30.0, gt=0)
    """Seconds for one page in all, from the connection to its last byte."""
    delay: float = Field(1.0, ge=0)
    """Seconds between two requests to a host, at least; longer where its robots.txt asks for it, up to 60."""
    private: bool = False
    """Allow private, loopback, link-local and reserved network addresses, for an intranet."""
    recheck: float = Field(3600.0, ge=0)
    """Seconds after which `ragtune ingest --watch` looks at web pages again; 0: never."""


class EmbedSettings(Section):
    """The embedder."""

    _named = field_validator("model")(_check_name)
    model: str = "all-minilm-l6-v2"
    """Catalog id, Hugging Face id or local folder of a sentence-transformers model; or a hosted one, as openai:text-embedding-3-small."""
    batch_size: int = Field(64, ge=1)
    """Texts embedded at once, fewer where memory does not suffice; of a hosted embedder, in one request."""
    dimensions: int | None = Field(None, ge=1)
    """Length of the vectors, shorter than the model's own where it can shorten them; unset: the model's own."""
    max_tokens: int | None = Field(None, ge=1)
    """Longest text that a hosted embedder reads, in tokens; unset: what is known of its vendor, else 512."""


class IndexSettings(Section):
    """The vector index."""

    backend: Literal["faiss", "exact"] = "faiss"
    """faiss, or exact (NumPy, the reference)."""
    kind: Literal["auto", "flat", "hnsw", "ivf", "ivf-sq8", "ivf-pq"] = "auto"
    """flat compares with every vector, hnsw is a graph, ivf is lists, which may hold codes of 8 bits (sq8) or one (pq) a dimension; auto
    chooses by number and memory."""
    recall: float = Field(0.98, gt=0, le=1)
    """Share of the ten exact neighbours that a kind which is not exact is tuned to find; 1 is exact search."""
    memory: int | None = Field(None, ge=1)
    """MiB that the index may take, for auto; unset: no limit."""


class RetrieveSettings(Section):
    """Finding passages for a question."""

    k: int = Field(3, ge=1)
    """Passages shown to the model, in training, evaluation and serving alike."""
    candidates: int = Field(50, ge=1)
    """Chunks that dense and lexical search each contribute to the fusion."""
    fusion: Literal["zscore", "rrf"] = "zscore"
    """How the two rankings are fused: sum of z-scores, or reciprocal rank fusion."""
    dense_weight: float = Field(0.5, ge=0, le=1)
    """Share of the dense ranking in the fused score; 1 is dense alone, 0 lexical alone."""
    reranker: str | None = None
    """Hugging Face id or local folder of a sentence-transformers CrossEncoder that reads question and chunk together and ranks the first
    chunks anew; unset: as they are fused."""
    rerank_candidates: int = Field(30, ge=1)
    """Chunks that the reranker reads."""
    rerank_weight: float = Field(1.0, gt=0, le=1)
    """Share of the reranker's score in the new ranking, the rest being the score that a chunk was found with; 1 is the reranker alone."""
    mmr: float | None = Field(None, ge=0, le=1)
    """Weight of relevance against novelty in maximal marginal relevance: 1 is relevance alone; unset: no such choice is made."""
    expand: Literal["none", "neighbours", "section"] = "none"
    """What is shown of a chunk's surroundings: nothing, the chunk before and after it, or its section, of long ones a part."""
    rewrite: str | None = None
    """provider:model that writes three other wordings of a question, which are searched for too; unset: the question alone."""


class RetrieverSettings(Section):
    """Tuning the retriever: ``ragtune train --retriever``."""

    loss: Literal["distill", "infonce"] = "distill"
    """What the embedder learns: the cross-encoder's scores of a whole list, or which chunk of a step's lists answers a question."""
    max_questions: int | None = Field(1200, ge=1)
    """Training questions used, a seeded sample; unset: all."""
    passages: int = Field(6, ge=3)
    """Chunks that are shown with a question: one that answers it, and others that are found for it."""
    epochs: int = Field(1, ge=1)
    """Times that each question is shown."""
    learning_rate: float = Field(3e-5, gt=0)
    """Peak, of the embedder."""
    reranker_learning_rate: float = Field(1e-4, gt=0)
    """Peak, of the cross-encoder, whose last layer is new."""
    keep: float = Field(0.5, ge=0, lt=1)
    """Share of the weights before tuning in the embedder that is kept: their mean forgets less of what is not in the questions."""
    folds: int = Field(2, ge=2)
    """Parts of the questions; for each a retriever is tuned on the others, and finds its training passages and part of the proof."""
    rerank: bool = True
    """Adopt the cross-encoder too, where it ranks better; each search then waits for it to read retrieve.rerank_candidates chunks."""
    rerank_weight: float = Field(0.3, gt=0, le=1)
    """What retrieve.rerank_weight is while the cross-encoder that was tuned here serves: it has seen few questions, and helps in part."""
    seed: int = 0
    """Seed of samples, order and new weights."""


class DatasetSettings(Section):
    """Questions to examples."""

    seed: int = 0
    """Seed of the splits."""
    test_share: float = Field(0.3, gt=0, lt=1)
    """Share of the questions that is locked away for the test."""
    validation_share: float = Field(0.1, gt=0, lt=1)
    """Share on which everything is chosen."""
    new_documents_share: float = Field(0.5, ge=0, le=1)
    """Share of the test questions whose documents occur nowhere in training."""
    p_oracle: float | None = Field(None, ge=0, le=1)
    """Share of training contexts that hold the evidence; unset: the retriever's recall@k on validation, and 0.9 where that is less.

    Where validation has fewer than 30 questions, training questions are measured instead: they are retrieved in just the same way.
    """
    quote_words: int = Field(30, ge=5)
    """Longest quote in a training answer, in words."""
    reasoning: bool = False
    """Train on the reasoning of questions that have one: a line between quote and answer; give generate.max_new_tokens room for it."""


class ModelSettings(Section):
    """The language model."""

    _named = field_validator("base")(_check_name)
    base: str = "smollm2-135m-instruct"
    """Catalog id, Hugging Face id or local folder of the model to tune, with a chat template; or provider:model, tuned by its vendor."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the base weights; auto takes bfloat16 where the hardware is faster with it."""
    device: str | None = None
    """cpu, cuda, cuda:1 or mps; unset: a CUDA GPU where there is one, else the CPU."""
    chat_template: str | None = None
    """A .jinja file, relative to the project, or the template itself, that chats are written with instead of the model's own."""


class TrainSettings(Section):
    """Tuning on this machine."""

    backend: Literal["torch", "keras"] = "torch"
    """What trains: torch (PyTorch), or keras (Keras on TensorFlow; needs ragtune[tensorflow]). Both write the same kind of adapter."""
    method: Literal["lora", "dora", "full"] = "lora"
    """lora, dora (adapters that train the length of each row too), or full: the whole model, at a rate of 1e-5 to 1e-4."""
    rslora: bool = False
    """Multiply updates by alpha / √rank instead of alpha / rank, so that a higher rank does not need a higher alpha."""
    targets: tuple[str, ...] = ()
    """Linear layers with an adapter, by name, as ["q_proj", "v_proj"], or by part, as "attention" or "mlp"; empty: all but the head."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Keep less for the backward pass and compute it twice: slower, in far less memory; auto: where it would not fit otherwise."""
    rank: int = Field(16, ge=1)
    """Rank r of the adapters."""
    alpha: float = Field(32.0, gt=0)
    """LoRA scale: updates are multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak of the cosine schedule."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises to its peak."""
    epochs: int = Field(2, ge=1)
    """Times that each training question is answered."""
    answers_per_step: int = Field(4, ge=1)
    """Answers whose mean loss makes one update."""
    rehearsal: float = Field(1.0, ge=0)
    """Weight of staying near the base model on text that it wrote itself, against forgetting what it knew; 0 leaves it out."""
    shared_contexts: bool = True
    """Train questions with overlapping contexts in one sequence."""
    tokens_per_batch: int | None = Field(None, ge=1)
    """Tokens in one pass; an update may take several. Unset: 2048 on a CPU (Keras: 1024), 16384 on a GPU. A longer context stands alone."""
    average_checkpoints: int = Field(0, ge=0)
    """Give the mean of so many weights of the run's end, a twentieth of the run apart; 0: the last."""
    early_stopping: int = Field(0, ge=0)
    """Stop when so many of ten measurements in a row find no lower validation loss, with the weights of the lowest; 0: train to the end."""
    watch_questions: int = Field(0, ge=0)
    """Validation questions that are answered three times in a run, to see their F1 rise; each takes about as long as training an answer."""
    seed: int = 0
    """Seed of initial weights, of the sample of questions, and of each epoch's order, shared contexts and contexts without evidence."""
    max_answers: int | None = Field(None, ge=1)
    """Training questions used, a seeded sample; unset: all."""
    distractors: Literal["retrieved", "random"] = "retrieved"
    """What stands beside the evidence in training: passages that are found for the question, as in serving, or random ones."""
    distractor_count: int | None = Field(None, ge=0)
    """Distractors beside the evidence, where it is absent one more; unset: as many as make up retrieve.k passages."""
    distractor_ranks: tuple[int, int] | None = None
    """First and last rank that distractors are drawn from, anew each epoch, like [4, 20]; unset: the best ranked, as in serving."""
    order: Literal["served", "shuffled"] = "served"
    """Order of the passages in training: as they are found, or shuffled anew each epoch."""
    false_negatives: Literal["remove", "keep"] = "remove"
    """Where the evidence is left out, other passages in which an answer's words stand are left out too, or kept."""
    absent: Literal["abstain", "answer", "drop"] = "abstain"
    """What is learnt where the evidence is left out: to abstain, to answer from memory without a quote, or nothing (drop)."""
    answer: Literal["plain", "quote", "reasoned"] | None = None
    """Answers that are learnt: plain, after a quote, or after quote and reasoning; unset: quote, or reasoned with dataset.reasoning."""

    @field_validator("distractor_ranks")
    @classmethod
    def _ranks_are_a_window(cls, ranks: tuple[int, int] | None) -> tuple[int, int] | None:
        if ranks is not None and not 1 <= ranks[0] <= ranks[1] <= 20:
            raise PydanticCustomError("ranks", "write the first and the last rank, of 1 to 20, like [4, 20]", {})
        return ranks


class GenerateSettings(Section):
    """Writing answers."""

    max_new_tokens: int = Field(96, ge=1)
    """Longest answer, in tokens."""
    batch_size: int = Field(16, ge=1)
    """Prompts answered at once; fewer where memory does not suffice."""
    constrained_quotes: bool = True
    """In the quotes that open a line before the answer, a local model may only write what stands in a passage that it is shown."""
    precision: float | None = Field(None, gt=0, le=1)
    """Answer only where answers as sure as this were right so often on validation; unset: the model alone decides when to abstain."""


class EvaluateSettings(Section):
    """Measuring arms against each other."""

    arms: tuple[Arm, ...] = ("base", "base-fewshot", "tuned")
    """base, base-fewshot (two worked examples), tuned; and dsf (tuned without context, trained when asked for)."""
    contexts: tuple[Context, ...] = ("closed-book", "distractors", "oracle", "oracle+distractors", "retrieved")
    """What the arms are shown. With distractors alone, passages of which none holds the answer, a model should abstain."""
    control_questions: int = Field(60, ge=1)
    """Questions asked closed-book, with the oracle alone and with distractors alone; these contexts are controls."""
    max_questions: int | None = Field(None, ge=1)
    """Test questions asked, a seeded sample; unset: all."""
    robustness: int = Field(0, ge=0)
    """Questions that tuned and base-fewshot are asked again in changed contexts: other k, other order, noise, typos; 0: none."""
    seed: int = 0
    """Seed of samples and of the bootstrap."""

    @field_validator("arms", "contexts")
    @classmethod
    def _each_is_named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise PydanticCustomError("none_named", "name at least one, or leave it unset", {})
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise PydanticCustomError("named_twice", "{name} stands in it twice: name each once", {"name": twice[0]})
        return names


class ChatSettings(Section):
    """Calling hosted models: ``openai:…``, ``deepseek:…``, ``gemini:…``, ``langchain:…`` and others, wherever a model can be named."""

    base_urls: dict[str, str] = Field(default_factory=dict)
    """Addresses of servers by provider, e.g. {compatible = "http://localhost:8000/v1"}; OPENAI_BASE_URL and its like work too."""
    timeout: float = Field(120.0, gt=0)
    """Seconds to wait for a server's next bytes."""
    retries: int = Field(5, ge=0)
    """Further attempts where a server is busy, gone or cut off; what it asks to wait is waited."""
    concurrency: int = Field(4, ge=1)
    """Calls on their way at once."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Most calls begun in a minute, to each provider; unset: no limit."""
    max_cost: float = Field(5.0, ge=0)
    """US dollars that all calls of the project together may cost; no call is made that could pass it. inf is no cap."""
    prices: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """US dollars for a million prompt and completion tokens, by provider:model, above the built-in list: {"compatible:m" = [0.1, 0.4]}."""
    thinking: bool = False
    """Let models reason before they answer, where that can be chosen."""
    cache: bool = True
    """Keep answers, and give the one that was given before to the same prompt, so that a run repeats exactly and is paid for once."""


class TuningSettings(Section):
    """Tuning a hosted model, where model.base is one (``openai:…``, ``vertex:…``): a job at its vendor, paid by the token."""

    epochs: int | None = Field(None, ge=1)
    """Times that each training question is answered; unset: train.epochs."""
    suffix: str = Field("ragtune", pattern=r"^[A-Za-z0-9-]{1,40}$")
    """Goes into the tuned model's name."""
    poll_seconds: float = Field(20.0, gt=0)
    """Seconds between two looks at a job."""
    price: float | None = Field(None, ge=0)
    """US dollars for a million training tokens, above the built-in list."""
    project: str | None = None
    """Google Cloud project of Vertex AI; unset: GOOGLE_CLOUD_PROJECT."""
    location: str | None = None
    """Region of Vertex AI; unset: GOOGLE_CLOUD_LOCATION, else us-central1."""
    bucket: str | None = None
    """Cloud Storage bucket, without gs://, that examples for Vertex AI are uploaded to."""


class TeacherSettings(Section):
    """Writing questions from the documents."""

    _named = field_validator("model")(_check_name)
    model: str | None = None
    """provider:model that writes questions, or local:MODEL; unset: questions are only those that you bring."""
    questions: int = Field(0, ge=0)
    """Questions that are to come through the filters."""


class JudgeSettings(Section):
    """A model that grades answers."""

    _named = field_validator("model")(_check_name)
    model: str | None = None
    """provider:model that grades answers, or local:MODEL; unset: exact metrics alone."""
    questions: int = Field(100, ge=1)
    """Questions of the retrieved context whose answers are graded, a seeded sample."""


class ServeSettings(Section):
    """Answering over HTTP, with ragtune serve."""

    host: str = "127.0.0.1"
    """Address to listen on; one that others can reach needs keys ("ragtune keys add")."""
    port: int = Field(8321, ge=0, le=65535)
    """Port; 0 takes a free one."""
    rows: int = Field(16, ge=1)
    """Answers that the local model writes at once."""
    waiting: int = Field(64, ge=0)
    """Questions that may wait for their turn; beyond, a client is told to come back (429)."""
    timeout: float = Field(120.0, gt=0)
    """Seconds that one answer of the local model may take, waiting included."""
    longest_answer: int = Field(1024, ge=1)
    """Tokens that one answer may have, however many are asked for: each takes memory of the local model in every row."""
    drain: float = Field(30.0, ge=0)
    """Seconds that answers on their way have to end when the server is stopped."""
    origins: tuple[str, ...] = ()
    """Web pages' origins that may call the API from a browser, as "https://chat.example.org", and the address of a proxy before it."""
    hosted: tuple[str, ...] = ()
    """Hosted models, as provider:model, that every client may ask by name; others than the project's own only a key that may write."""
    largest_request: int = Field(1_000_000, ge=1000)
    """Bytes of one request; uploads have serve.largest_upload."""
    largest_upload: int = Field(100_000_000, ge=1000)
    """Bytes of the files of one upload."""


class TraceSettings(Section):
    """What the server keeps of what was asked and answered, in .ragtune/traces.db."""

    keep: bool = True
    """Keep questions, passages and answers; without, only counts and times are kept."""
    days: float = Field(90.0, gt=0)
    """Days after which a trace is forgotten."""
    redact: tuple[str, ...] = ()
    """Regular expressions; what fits one in a question, an answer or what was said of it is kept as ▮▮▮."""
    checked: float = Field(0.0, ge=0, le=1)
    """Share of the answers whose groundedness is judged by judge.model, in the background."""

    @field_validator("redact")
    @classmethod
    def _patterns_can_be_searched_for(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                fits_nothing = re.compile(pattern).search("") is None
            except re.error as error:
                raise PydanticCustomError(
                    "pattern", "{pattern} is no regular expression: {why}", {"pattern": pattern, "why": str(error)}
                ) from None
            if not fits_nothing:
                raise PydanticCustomError(
                    "pattern", "{pattern} fits everywhere, even where nothing stands: write what it must hold", {"pattern": pattern}
                )
        return patterns
