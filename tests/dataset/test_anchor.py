from __future__ import annotations

from dataclasses import replace

from ragtune.dataset.anchor import AnchorReport, anchor
from ragtune.dataset.questions import RawEvidence, RawQuestion
from ragtune.types import Document

_RECORDS = "application/jsonl"


def row(file: str, id_: str, **cells: str) -> Document:
    text = f"# {cells['name']}\n\n" + "\n".join(f"{name}: {value}" for name, value in {"id": id_, **cells}.items())
    return Document(f"{file}#{id_}", cells["name"], text, "text/csv")


DOCUMENTS = {
    document.source: document
    for document in (
        Document("rules/shares.md", "Shares", "# Shares\n\nA person may hold **40** shares,\nand no more.\n\n| Beds | 25 % | 10 % |\n"),
        Document("old/shares.md", "Shares", "Once a person might hold 12 shares."),
        Document("guide.pdf", "Guide", "The “upper” hut – closed in May –\nopens in June."),
        Document("C# guide.md", "C# guide", "# C# guide\n\nA long line of prose in which await gives a task back, and more of it."),
        Document("log.jsonl#7", "Log 7", "The winter was long. The ferry stood still for nine weeks. Then it ran.", _RECORDS, {"year": 1}),
        Document("log.jsonl#8", "Log 8", "# Log 8\n\nferry: stands still for eleven weeks\nyear: 2", _RECORDS),
        row("huts/huts.csv", "H1", name="Lantern Hut", beds="24", height="1,640", keeper="Ina Moll"),
        row("huts/huts.csv", "H2", name="Corrie Hut", beds="24", height="2,116", keeper="Per Aust"),
        row("huts/huts.csv", "H3", name="Saddle Hut", beds="6", height="1,640", keeper="Ina Moll"),
    )
}


def ask(evidence: str | None, document: str | None, question: str = "Which?", needs: str | None = None, answer: str = "x") -> AnchorReport:
    spans = () if evidence is None else (RawEvidence(evidence),)
    raw = RawQuestion("q", question, (answer,), document, spans, needs=needs, where="questions.jsonl:7")
    return anchor([raw], DOCUMENTS)


def found(evidence: str, document: str | None, question: str = "Which?") -> tuple[str, str]:
    report = ask(evidence, document, question)
    assert not report.stale, report.stale
    (place,) = report.questions[0].evidence
    assert DOCUMENTS[place.document].text[place.start : place.end] == place.text
    return place.document, place.text


def test_evidence_is_found_through_typography_line_breaks_and_markdown() -> None:
    assert found("A person may hold 40 shares, and no more.", "rules/shares.md") == (
        "rules/shares.md",
        "A person may hold **40** shares,\nand no more.",
    )
    assert found('The "upper" hut - closed in May - opens', "guide.pdf")[1] == "The “upper” hut – closed in May –\nopens"


def test_a_unique_ending_names_a_document_and_an_ambiguous_one_is_listed() -> None:
    assert found("12 shares", "./old/shares.md")[0] == "old/shares.md"
    assert found("A person may hold", "rules\\shares.md")[0] == "rules/shares.md"
    assert found("beds: 24", "huts.csv#H2")[0] == "huts/huts.csv#H2"
    (reason,) = ask("12 shares", "shares.md").stale
    assert "shares.md could be any of old/shares.md, rules/shares.md" in reason.reason
    (reason,) = ask("12 shares", "ares.md").stale
    assert reason.reason == "questions.jsonl:7: no ingested document is called ares.md: check the path, or ingest it"


def test_without_a_document_all_are_searched() -> None:
    assert found("Once a person might hold", None)[0] == "old/shares.md"


def test_a_raw_csv_line_becomes_the_lines_of_its_row() -> None:
    whole = "id: H2\nname: Corrie Hut\nbeds: 24\nheight: 2,116\nkeeper: Per Aust"
    assert found('H2,Corrie Hut,24,"2,116",Per Aust', "huts/huts.csv") == ("huts/huts.csv#H2", whole)
    assert found('Corrie Hut,24,"2,116"', "huts.csv") == ("huts/huts.csv#H2", "name: Corrie Hut\nbeds: 24\nheight: 2,116")
    assert len(ask('H2,Corrie Hut,25,"2,116",Per Aust', "huts/huts.csv").stale) == 1


def test_several_raw_csv_lines_are_the_lines_of_their_rows() -> None:
    (question,) = ask("Corrie Hut,24\n\nSaddle Hut,6", "huts.csv").questions
    assert [(each.document, each.text) for each in question.evidence] == [
        ("huts/huts.csv#H2", "name: Corrie Hut\nbeds: 24"),
        ("huts/huts.csv#H3", "name: Saddle Hut\nbeds: 6"),
    ]
    (reason,) = ask("Corrie Hut,24\nSaddle Hut,7", "huts.csv").stale
    assert "“Saddle Hut,7” is not in huts.csv" in reason.reason


def test_evidence_that_is_no_csv_line_is_listed() -> None:
    for evidence in ("Corrie Hut,24\nno hut,7", "Corrie Hut," + "x" * 200_000):
        for document in ("huts.csv", "huts.csv#H2", None):
            assert len(ask(evidence, document).stale) == 1


def test_a_cell_that_stands_in_many_rows_is_taken_from_the_row_that_the_question_names() -> None:
    assert found("24", "huts/huts.csv", "How many beds has the Corrie Hut?") == ("huts/huts.csv#H2", "beds: 24")
    assert found("Ina Moll", "huts.csv", "Who keeps the Saddle Hut?") == ("huts/huts.csv#H3", "keeper: Ina Moll")
    # 6 is a cell of H3; it is not in 1,640 nor in 2,116.
    assert found("6", "huts.csv", "How many beds has the Lantern Hut?") == ("huts/huts.csv#H3", "beds: 6")


def test_only_of_rows_and_written_out_records_the_whole_line_is_evidence() -> None:
    assert found("await gives a task back", "C# guide.md") == ("C# guide.md", "await gives a task back")
    assert found("The ferry stood still for nine weeks.", "log.jsonl")[1] == "The ferry stood still for nine weeks."
    assert found("eleven weeks", "log.jsonl#8")[1] == "ferry: stands still for eleven weeks"
    assert len(ask("await gives a task back", "C").stale) == 1, "what stands before a # is no file of its own"


def test_evidence_that_is_not_there_makes_the_question_stale_with_its_place_in_the_file() -> None:
    report = ask("A person may hold 41 shares", "rules/shares.md")
    assert not report.questions
    assert report.stale[0].source == "q"
    assert report.stale[0].reason.startswith("questions.jsonl:7: the evidence “A person may hold 41 shares” is not in rules/shares.md")


def test_a_question_without_evidence_is_kept_with_the_document_that_it_names() -> None:
    (question,) = ask(None, "./old/shares.md").questions
    assert (question.evidence, question.documents) == ((), ("old/shares.md",))
    assert ask(None, "huts.csv").questions[0].documents == tuple(f"huts/huts.csv#H{n}" for n in (1, 2, 3))
    assert (ask(None, None).questions[0].answers, ask(None, None).questions[0].documents) == (("x",), ())
    assert len(ask(None, "gone.md").stale) == 1


def test_a_question_that_needs_what_was_not_ingested_is_reported_apart() -> None:
    report = ask("text", "scan.pdf", needs="ocr")
    assert (report.questions, report.stale) == ([], [])
    assert report.unread[0].reason.startswith("needs ocr: without it scan.pdf could not be ingested")
    assert len(ask("not in it", "guide.pdf", needs="ocr").stale) == 1


def test_evidence_over_two_documents_is_anchored_in_both() -> None:
    raw = RawQuestion("q", "?", ("x",), "rules/shares.md", (RawEvidence("40"), RawEvidence("12 shares", "old/shares.md")))
    (question,) = anchor([raw], DOCUMENTS).questions
    assert [(each.document, each.text) for each in question.evidence] == [("rules/shares.md", "40"), ("old/shares.md", "12 shares")]
    (stale,) = anchor([replace(raw, evidence=(*raw.evidence, RawEvidence("gone")))], DOCUMENTS).stale
    assert "“gone”" in stale.reason


def test_a_question_about_a_dropped_copy_is_anchored_in_the_document_that_is_kept() -> None:
    text = "A lantern hangs at the pier."
    documents = {
        document.source: document
        for document in (
            Document("a/pier.md", "Pier", text),
            Document("b/pier.md", "Pier", text),
            Document("c/old.md", "Old", f"{text} It is red."),
            Document("d/pier-rows.csv#1", "1", "# 1\n\nlamp: red", "text/csv"),
            Document("d/pier-rows.csv#2", "2", "# 2\n\nlamp: blue", "text/csv"),
            Document("e/rows.csv#1", "2", "# 2\n\nlamp: blue", "text/csv"),
        )
    }
    copies = {"b/pier.md": "a/pier.md", "c/old.md": "b/pier.md", "e/rows.csv#1": "d/pier-rows.csv#2"}

    def place(evidence: str, name: str | None) -> AnchorReport:
        return anchor([RawQuestion("q", "Which?", ("x",), name, (RawEvidence(evidence),), where="q:1")], documents, copies)

    for name in ("a/pier.md", "b/pier.md", "pier.md", "old.md", None):
        (question,) = place("hangs at the pier", name).questions
        assert [each.document for each in question.evidence] == ["a/pier.md"]
    assert place("blue", "rows.csv").questions[0].evidence[0].document == "d/pier-rows.csv#2"
    (reason,) = place("It is red.", "c/old.md").stale
    assert "is not in a/pier.md, which is kept in place of its duplicate c/old.md" in reason.reason
    assert place("It is red.", None).stale, "what is not in the index is not searched"
    (question,) = anchor([RawQuestion("q", "Which?", ("x",), "b/pier.md", (RawEvidence(text, None, 0),))], documents, copies).questions
    assert question.evidence[0].document == "a/pier.md"


def test_a_path_with_more_before_it_than_the_folder_knows_is_told_what_may_be_meant() -> None:
    (reason,) = ask("12 shares", "../docs/old/shares.md").stale
    assert reason.reason == "questions.jsonl:7: no ingested document is called ../docs/old/shares.md: did you mean old/shares.md?"
