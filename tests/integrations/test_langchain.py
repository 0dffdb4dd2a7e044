"""What LangChain's standard tests do not ask: that a chain says what ragtune says, and that loaded documents are a project's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("langchain_core", reason="langchain is not installed")

from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from ragtune import Project
from ragtune.chat.local import LocalChat
from ragtune.corpus import Corpus
from ragtune.errors import ChatError, ConfigError, ProjectError, ReadError
from ragtune.integrations.langchain import (
    ChatRagtune,
    RagtuneEmbeddings,
    RagtuneRetriever,
    RagtuneVectorStore,
    answer_chain,
    ingest_documents,
    passages_prompt,
)
from ragtune.rag import Answer
from tiny_project import builder, fact, write_project, write_sources

QUESTION = "Who built the mill of Calder?"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, tiny_chat: Path, tiny_embedder: Path) -> Project:
    """A project that no test changes."""
    folder = tmp_path_factory.mktemp("langchain")
    project = Project(write_project(folder / "project", write_sources(folder / "sources"), tiny_chat, tiny_embedder))
    project.ingest()
    project.index()
    return project


@pytest.fixture
def empty(tmp_path: Path, tiny_embedder: Path) -> Project:
    """A project without documents of its own."""
    return Project(tmp_path / "empty", overrides=[f"embed.model={tiny_embedder}"], create=True)


def loaded(*texts: str, source: str = "guide.pdf") -> list[Document]:
    return [Document(page_content=text, metadata={"source": source, "page": page}) for page, text in enumerate(texts)]


def documents_of(project: Project) -> dict[str, str]:
    corpus = Corpus(project.workspace.corpus)
    found = {document.source: document.text for document in corpus.documents()}
    corpus.close()
    return found


def ask(project: Project) -> Answer:
    *_, answer = project.ask(QUESTION)
    assert isinstance(answer, Answer)
    return answer


# Retriever


def test_the_retriever_finds_what_search_finds(indexed):
    found = RagtuneRetriever(project=indexed, k=5).invoke(QUESTION)
    hits = indexed.search(QUESTION, 5)
    assert [(d.metadata["source"], d.metadata["start"], d.metadata["end"]) for d in found] == [(h.source, h.start, h.end) for h in hits]
    assert [round(d.metadata["score"], 4) for d in found] == [hit.score for hit in hits]
    for document, hit in zip(found, hits, strict=True):
        assert document.page_content.endswith(f"\n{hit.text}")
        assert document.metadata["title"] in document.page_content


def test_the_retriever_sees_what_came_in_after_it_was_made(empty):
    retriever = RagtuneRetriever(project=empty, k=1)
    for text in ("The mill stands on gravel.", "The tower is made of slate."):
        ingest_documents(empty, loaded(text))
        empty.index()
        assert text in retriever.invoke(text)[0].page_content


# Chat


def test_a_stream_is_what_invoke_gives_with_the_same_count_of_tokens(indexed):
    chat = ChatRagtune(project=indexed, max_tokens=20)
    whole = chat.invoke("Hello")
    streamed = None
    for chunk in chat.stream("Hello"):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.text == whole.text
    assert streamed.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"] > 0
    assert whole.usage_metadata["output_tokens"] == 20
    assert whole.response_metadata["finish_reason"] == "length"


def test_an_answer_ends_before_a_stop_sequence_however_it_is_cut_into_pieces(indexed):
    chat = ChatRagtune(project=indexed, max_tokens=20)
    text = chat.invoke("Hello").text
    for start, end in ((3, 4), (2, 7), (len(text) - 2, len(text))):
        stop = text[start:end]
        expected = text[: text.find(stop)]
        assert chat.invoke("Hello", stop=[stop]).text == expected
        streamed = list(chat.stream("Hello", stop=["not in it at all", stop]))
        assert "".join(chunk.text for chunk in streamed) == expected
        assert streamed[-1].response_metadata["finish_reason"] == "stop"
    almost = text[-3:] + "~"
    assert "".join(chunk.text for chunk in chat.stream("Hello", stop=[almost])) == text


def test_a_call_may_name_its_model_and_limit(indexed, tiny):
    chat = ChatRagtune(project=indexed)
    assert chat.invoke("Hello").usage_metadata["output_tokens"] <= indexed.settings.generate.max_new_tokens
    reply = chat.invoke("Hello", model=f"local:{tiny}", max_tokens=3)
    assert reply.response_metadata["model_name"] == f"local:{tiny}"
    assert reply.usage_metadata["output_tokens"] == 3
    with pytest.raises(ProjectError, match="named summer"):
        chat.invoke("Hello", model="summer")


def test_what_the_model_cannot_do_is_refused_and_not_passed_over(indexed):
    chat = ChatRagtune(project=indexed)
    with pytest.raises(ChatError, match="text only, not image_url"):
        chat.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "http://localhost/a.png"}}])])
    with pytest.raises(ChatError, match="no tool messages"):
        chat.invoke([HumanMessage("x"), ToolMessage("y", tool_call_id="1")])
    with pytest.raises(TypeError, match="tools"):
        chat.invoke("Hello", tools=[])
    with pytest.raises(ValueError, match="temprature"):
        ChatRagtune(project=indexed, temprature=1)


def test_neighbours_of_one_role_become_one_turn(indexed):
    chat = ChatRagtune(project=indexed, max_tokens=8)
    apart = [SystemMessage("a"), SystemMessage("b"), HumanMessage("c"), HumanMessage("d")]
    assert chat.invoke(apart).usage_metadata == chat.invoke([SystemMessage("a\nb"), HumanMessage("c\nd")]).usage_metadata


@pytest.mark.parametrize("provider", ["compatible", "langchain:openai"])
def test_a_hosted_model_answers_under_the_projects_settings(indexed, llama_server, monkeypatch, provider):
    name = provider.rpartition(":")[2]
    monkeypatch.setenv(f"{name.upper()}_API_KEY", llama_server.key)
    hosted = Project(indexed.path, overrides=[f'chat.base_urls={{{name} = "{llama_server.url}"}}'])
    chat = ChatRagtune(project=hosted, model=f"{provider}:{llama_server.model}", max_tokens=8, timeout=60, max_retries=0)
    whole = chat.invoke("Say hello.")
    assert whole.usage_metadata["output_tokens"] == 8
    assert (whole.response_metadata["finish_reason"], whole.response_metadata["cost"]) == ("length", 0)
    streamed = list(chat.stream("Say hello."))
    assert "".join(chunk.text for chunk in streamed) == whole.text
    assert [chunk.usage_metadata for chunk in streamed if chunk.usage_metadata] == [whole.usage_metadata]
    warm = list(chat.bind(temperature=0.8).stream("Say hello."))
    assert warm[0].text
    assert answer_chain(RagtuneRetriever(project=hosted, k=1), chat).invoke(QUESTION).raw


# Answers


def test_the_chain_says_what_ask_says(indexed):
    chain = answer_chain(RagtuneRetriever(project=indexed), ChatRagtune(project=indexed))
    expected = ask(indexed)
    answer = chain.invoke(QUESTION)
    assert (answer.raw, answer.markdown) == (expected.raw, expected.markdown)
    assert answer.passages == expected.passages


@pytest.mark.parametrize("held", [True, False])
def test_quotes_are_held_to_the_passages_where_ask_holds_them(indexed, monkeypatch, held):
    """The tiny model opens no quote, so what is looked at is what the engine is told."""
    told = []
    stream = LocalChat.stream
    monkeypatch.setattr(LocalChat, "stream", lambda *args, **options: told.append(options) or stream(*args, **options))
    project = Project(indexed.path, overrides=[f"generate.constrained_quotes={str(held).lower()}"])
    answer = answer_chain(RagtuneRetriever(project=project), ChatRagtune(project=project)).invoke(QUESTION)
    ask(project)
    assert len(told) == 1 + held  # what is not held need not be streamed
    assert {tuple(options["quotable"]) if options["quotable"] else None for options in told} == {answer.passages if held else None}


def test_any_chat_model_and_any_retriever_are_checked(indexed):
    quoting = GenericFakeChatModel(
        messages=iter([AIMessage(f'"{fact("Calder", "mill")}"\n"The mill never was."\nAnswer: {builder("Calder", "mill")}')])
    )
    documents = [Document(page_content=f"Old stones. {fact('Calder', 'mill')}", metadata={"source": "calder.txt"})]
    answer = answer_chain(RunnableLambda(lambda _: documents), quoting).invoke(QUESTION)
    assert answer.answer == builder("Calder", "mill")
    (citation,) = answer.citations
    assert (citation.number, citation.quote.document, citation.quote.start) == (1, "calder.txt", len("Old stones. "))
    assert answer.unsupported == ("The mill never was.",)


def test_the_prompt_is_a_part_of_any_chain(indexed):
    chain = {"question": RunnablePassthrough(), "documents": RagtuneRetriever(project=indexed)} | passages_prompt
    assert fact("Calder", "mill") in chain.invoke(QUESTION)[-1].text
    assert isinstance((chain | ChatRagtune(project=indexed)).invoke(QUESTION), AIMessage)


# Loaders


def test_loaded_documents_are_ingested_once_and_leave_when_they_are_gone(empty):
    pages = loaded("The mill stands on gravel.", "The tower is made of slate.")
    assert len(ingest_documents(empty, pages).read) == 1
    assert documents_of(empty) == {
        "langchain/documents.jsonl#guide.pdf": "The mill stands on gravel.",
        "langchain/documents.jsonl#guide.pdf 2": "The tower is made of slate.",
    }
    empty.index()
    again = ingest_documents(empty, pages)
    assert (again.read, again.unchanged, empty.index().embedded) == ((), 1, 0)
    ingest_documents(empty, pages[1:])
    assert list(documents_of(empty).values()) == ["The tower is made of slate."]
    ingest_documents(empty, [])
    assert documents_of(empty) == {}


def test_loaded_documents_stay_beside_the_files(project, sources):
    opened = Project(project)
    opened.ingest()
    files = len(documents_of(opened))
    ingest_documents(opened, loaded("The mill stands on gravel."), name="guides")
    ingest_documents(opened, loaded("The tower is made of slate."), name="notes")
    for ingest in (opened.ingest, lambda: opened.ingest([sources.documents])):
        ingest()
        assert len(documents_of(opened)) == files + 2
    assert Project(project, overrides=["documents=[]"]).ingest().documents == files + 2


def test_a_loaded_document_keeps_its_title_and_metadata_whatever_their_names(empty):
    metadata = {"title": "Mills", "text": "?", "question": "Why?", "answers": ["So"], "id": 7}
    ingest_documents(empty, [Document(id="a", page_content="The mill stands on gravel.", metadata=metadata), *loaded("  ")])
    corpus = Corpus(empty.workspace.corpus)
    (document,) = corpus.documents()
    corpus.close()
    assert (document.source, document.title) == ("langchain/documents.jsonl#a", "Mills")
    assert document.metadata["metadata"] == metadata


def test_two_documents_of_one_id_and_a_wrong_name_are_refused(empty):
    with pytest.raises(ReadError, match="'a'"):
        ingest_documents(empty, [Document(id="a", page_content="x"), Document(id="a", page_content="y")])
    with pytest.raises(ProjectError, match="cannot name"):
        ingest_documents(empty, loaded("x"), name="../x")


# Vector store


def test_the_store_finds_chunks_of_files_and_whole_texts_of_its_own(project):
    opened = Project(project)
    opened.ingest()
    opened.index()
    store = RagtuneVectorStore(opened)
    (chunk,) = RagtuneRetriever(project=opened, k=1).invoke(QUESTION)
    ((document, score),) = store.similarity_search_with_score(chunk.page_content, k=1)
    assert (document.id, document.metadata["source"]) == (chunk.id, "calder.md")
    assert score == pytest.approx(1, abs=1e-5)
    chunks = len(store.similarity_search(QUESTION, k=1000))
    long = " ".join(f"{fact('Zedmoor', thing)} Slate and gravel lie there." for thing in ("mill", "bridge", "tower", "well", "market"))
    assert store.add_texts([long], [{"about": "Zedmoor"}], ids=["z"]) == ["z"]
    found = store.similarity_search(long, k=1000)
    assert [d for d in found if d.id == "z"] == [Document(id="z", page_content=long, metadata={"about": "Zedmoor"})]
    assert len(found) == chunks + 1 < opened.index().vectors  # the text has several chunks, and is one document
    assert "z" not in {d.id for d in RagtuneVectorStore(opened, "others").similarity_search(long, k=1000)}
    assert store.delete()
    assert len(store.similarity_search(long, k=1000)) == chunks


def test_the_store_is_a_retriever_of_each_kind(indexed):
    store = RagtuneVectorStore(indexed)
    near = store.as_retriever(search_kwargs={"k": 4}).invoke(QUESTION)
    spread = store.as_retriever(search_type="mmr", search_kwargs={"k": 4, "lambda_mult": 0.0}).invoke(QUESTION)
    sure = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.0, "k": 4}).invoke(QUESTION)
    assert (
        [d.id for d in near]
        == [d.id for d in sure]
        == [d.id for d in store.similarity_search_by_vector(store.embeddings.embed_query(QUESTION))]
    )
    assert spread[0] == near[0]
    assert {d.id for d in spread} != {d.id for d in near}
    with pytest.raises(TypeError, match="filter"):
        store.similarity_search(QUESTION, filter={"source": "calder.md"})


def test_a_store_of_texts_takes_the_embedder_of_the_project_alone(empty):
    embeddings = RagtuneEmbeddings.from_project(empty)
    store = RagtuneVectorStore.from_texts(["slate", "gravel"], embeddings, ids=["1", "2"], project=empty)
    assert [d.id for d in store.similarity_search("gravel", k=2)] == ["2", "1"]
    from langchain_core.embeddings import DeterministicFakeEmbedding

    with pytest.raises(ConfigError, match="from_project"):
        RagtuneVectorStore.from_texts(["slate"], DeterministicFakeEmbedding(size=6), project=empty)
    with pytest.raises(ReadError, match="empty"):
        store.add_texts([" "])


def test_the_integration_is_imported_by_those_who_ask_for_it_alone():
    code = "import sys, ragtune, ragtune.project, ragtune.cli; assert not [m for m in sys.modules if m.startswith('langchain')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_how_to_runs(tmp_path, monkeypatch, tiny_chat, tiny_embedder, capsys):
    monkeypatch.chdir(tmp_path)
    opened = Project(write_project(tmp_path / "handbook", write_sources(tmp_path / "sources"), tiny_chat, tiny_embedder))
    opened.ingest()
    opened.index()
    names: dict[str, object] = {}
    page = (Path(__file__).parents[2] / "docs" / "langchain.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "langchain.md", "exec"), names)  # noqa: S102 - the page's own examples
    assert names["answer"].passages
    assert len(names["diverse"].invoke("When does the office open?")) == 3
    assert "langchain/website.jsonl#https://example.org/ferry" in documents_of(opened)
    assert "harbour office opens" in capsys.readouterr().out
    assert "langchain/notes.jsonl#office" not in documents_of(opened)
