"""report.html: whole, safe with hostile text, small; and shown by a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_evaluation import Evaluation, make_evaluation

from ragtune.evaluate.comparison import EVIDENCE, MARGIN, compare_questions, embed_json, passage_offsets
from ragtune.evaluate.html import PageMeta, render_html
from ragtune.evaluate.report import ClosedBook
from ragtune.evaluate.score import score
from ragtune.page.charts import axis
from ragtune.types import Passage, Span

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">😀 & \u2028"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation(60, 24)


def page(evaluation: Evaluation, meta: PageMeta | None = None) -> str:
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved)
    shown = meta or PageMeta("Trial")
    return render_html(report, evaluation.predictions, evaluation.passages, evaluation.examples, shown)


def hostile(evaluation: Evaluation) -> Evaluation:
    passages = {
        key: Passage(p.id, p.document, HOSTILE, HOSTILE, HOSTILE + p.text, p.spans, p.chunk_ids) for key, p in evaluation.passages.items()
    }
    predictions = [
        replace(p, raw=HOSTILE, answer=HOSTILE, question=HOSTILE, model=HOSTILE, kind=HOSTILE, references=p.references and (HOSTILE,))
        for p in evaluation.predictions
    ]
    return replace(evaluation, predictions=predictions, passages=passages)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def test_the_page_is_well_formed_and_fetches_nothing(evaluation: Evaluation) -> None:
    text = page(evaluation)
    for tag, attributes in tags(text):
        assert tag not in {"img", "link", "iframe", "object"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text


def test_the_decision_stands_first_and_every_table_names_its_heads(evaluation: Evaluation) -> None:
    text = page(evaluation)
    assert text.index("<h1") < text.index("<table")
    assert all("scope" in attributes for tag, attributes in tags(text) if tag == "th")
    assert text.count("<table") == text.count("<caption")


def test_what_the_base_knows_and_what_was_not_asked_are_said(evaluation: Evaluation) -> None:
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved)
    told = replace(report, closed_book=ClosedBook(3, 44), unasked={"ocr": 8})
    text = render_html(told, evaluation.predictions, evaluation.passages, evaluation.examples, PageMeta("Trial"))
    assert "the base model answers 3 of 44 answerable questions exactly" in text
    assert "8 more not asked: their documents need ocr to be read" in text


def test_the_axis_of_the_loss_names_its_unit(evaluation: Evaluation) -> None:
    text = page(evaluation, PageMeta("Trial", training=[{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]))
    assert "nats ÷ 32" in text
    assert "nats a token" not in text


def test_hostile_text_stays_text(evaluation: Evaluation) -> None:
    text = page(hostile(evaluation), PageMeta(HOSTILE, HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}))
    seen = tags(text)
    assert sum(tag == "script" for tag, _ in seen) == 2
    assert not any(tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in seen)


def test_embedded_json_cannot_leave_its_element_and_reads_back() -> None:
    text = embed_json({"text": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"text": HOSTILE}


def test_passages_stand_once_and_marks_point_at_what_was_quoted(evaluation: Evaluation) -> None:
    data = json.loads(embed_json(compare_questions(evaluation.predictions, evaluation.passages, evaluation.examples)))
    texts = [passage["text"] for passage in data["passages"]]
    tuned = [side["name"] for side in data["sides"]].index("tuned")
    shown = {id_ for p in evaluation.predictions if (p.arm, p.context) == ("tuned", "retrieved") for id_ in p.passages}
    assert sorted(texts) == sorted(evaluation.passages[id_].text for id_ in shown)
    assert sum(len(question["passages"]) for question in data["questions"]) > len(texts), "some passage is shown to several questions"
    gold = {example.id: [e.text for e in example.evidence] for example in evaluation.examples}
    quoted = {(p.id, q.text) for p in evaluation.predictions if p.arm == "tuned" and p.context == "retrieved" for q in p.quotes}
    kinds = set()
    for question in data["questions"]:
        for number, start, end, kind in question["marks"]:
            text = texts[question["passages"][number]][start:end]
            kinds.add(kind)
            if kind == EVIDENCE:
                assert text in gold[question["id"]]
            elif kind == tuned:
                assert (question["id"], text) in quoted
    assert {EVIDENCE, tuned} <= kinds


def test_the_outcomes_agree_with_the_scores(evaluation: Evaluation) -> None:
    data = json.loads(embed_json(compare_questions(evaluation.predictions, evaluation.passages, evaluation.examples)))
    assert len(data["questions"]) == len(evaluation.examples)
    for question in data["questions"]:
        left, right = (answer["score"] for answer in question["answers"][:2])
        close = abs(right - left) < MARGIN - 1e-6
        expected = ("both right" if right >= 0.5 else "both wrong") if close else "won" if right > left else "lost"
        assert question["outcome"] == expected


def test_a_mark_over_two_spans_of_a_passage_is_two_marks() -> None:
    passage = Passage("p", "d", "", "", "aaaaa\nbbbbb", (Span("d", 10, 15), Span("d", 20, 25)), ())
    assert list(passage_offsets(passage, "d", 13, 22)) == [(3, 5), (6, 8)]
    assert list(passage_offsets(passage, "other", 13, 22)) == []


def test_three_hundred_questions_with_long_passages_stay_under_a_megabyte() -> None:
    large = make_evaluation(300, 75)
    longer = {key: replace(p, text=p.text + " filler text" * 45) for key, p in large.passages.items()}
    assert 1000 < sum(len(p.text) for p in longer.values()) / len(longer) < 1400
    assert len(page(replace(large, passages=longer)).encode()) < 1_000_000


def test_an_axis_holds_its_range_with_round_ticks() -> None:
    assert axis(0, 0.73).ticks == (0.0, 0.2, 0.4, 0.6, 0.8)
    assert axis(-0.33, 0.33, ticks=8).ticks[0] == -0.4
    assert axis(0, 1).place(0.25) == 25


def test_an_evaluation_of_one_arm_still_makes_a_page(evaluation: Evaluation) -> None:
    alone = replace(evaluation, predictions=[p for p in evaluation.predictions if p.arm == "base"], retrieved={})
    assert "It is undecided" in page(alone)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_hostile_questions_as_text(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    probe = "<script>document.querySelectorAll('.question').forEach((q) => { q.open = true; });</script></body>"
    path.write_text(page(hostile(evaluation)).replace("</body>", probe), encoding="utf-8")
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", *quiet, profile, "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    shown = dom[dom.index('id="list"') :]
    assert "<title>Trial" in dom
    assert 'class="raw">&lt;/script&gt;' in shown
    assert "<img" not in dom
    assert "<mark class=" in shown
