"""report.html: whole, safe with hostile text, small; and shown by a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ragtune.evaluate.advice import advice
from ragtune.evaluate.comparison import EVIDENCE, MARGIN, compare_questions, embed_json, passage_offsets
from ragtune.evaluate.contamination import contamination
from ragtune.evaluate.html import PageMeta, render_html
from ragtune.evaluate.page_training import Curves, learning_curves
from ragtune.evaluate.report import ClosedBook, Report
from ragtune.evaluate.score import score
from ragtune.page.charts import axis
from ragtune.types import Arm, Estimate, Passage, Span
from synthetic_evaluation import Evaluation, make_evaluation
from waiting import PATIENCE_S

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


@pytest.mark.parametrize(
    ("asked", "compared"),
    [
        (("base", "tuned"), ("base", "tuned")),
        (("tuned", "dsf"), ("dsf", "tuned")),
        (("other", "tuned"), ("other", "tuned")),
        (("base", "dsf", "other", "tuned"), ("base", "tuned")),
        (("base-fewshot", "other", "tuned"), ("base-fewshot", "tuned")),
        (("base", "dsf"), ("base", "dsf")),
    ],
)
def test_whichever_arms_were_asked_the_model_that_is_judged_wins_what_it_answers_better(
    asked: tuple[Arm, ...], compared: tuple[Arm, Arm]
) -> None:
    against, judged = compared
    made = make_evaluation(40, 8, skill=dict.fromkeys(asked, 0.5) | {against: 0.1, judged: 0.9})
    data: Any = compare_questions(made.predictions, made.passages, made.examples)
    assert tuple(side["name"] for side in data["sides"][:2]) == compared
    outcomes = Counter(question["outcome"] for question in data["questions"])
    assert outcomes["won"] > outcomes["lost"]
    assert {"won", "both wrong"} <= set(data["outcomes"]) == outcomes.keys()
    assert all((q["change"] > 0) == (q["outcome"] == "won") for q in data["questions"] if q["outcome"] in ("won", "lost"))


def test_two_models_of_which_none_is_judged_win_and_lose_nothing(evaluation: Evaluation) -> None:
    untuned = [p for p in evaluation.predictions if p.arm != "tuned"]
    data: Any = compare_questions(untuned, evaluation.passages, evaluation.examples)
    assert data["outcomes"] == ["they differ", "all wrong"]
    assert {question["outcome"] for question in data["questions"]} == set(data["outcomes"])
    assert all(question["change"] >= 0 for question in data["questions"])


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
    assert "There is nothing to decide" in page(alone)
    assert "Add tuned and base-fewshot to evaluate.arms" in page(alone)


def test_the_first_screen_says_decision_effect_cost_and_what_to_do_next(evaluation: Evaluation) -> None:
    text = page(evaluation, PageMeta("Trial", trained="Training took 10 minutes on cpu, once."))
    screen = text[: text.index("<nav")]
    places = [screen.index(f">{words}<") for words in ("The tuned model answers better", "Effect", "Cost", "What to do next")]
    assert places == sorted(places)
    assert "Training took 10 minutes on cpu" in screen
    assert "<code>ragtune ask</code> takes the newest one by itself" in screen


def test_advice_follows_the_decision_and_names_what_retrieval_costs(evaluation: Evaluation) -> None:
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved)
    assert "Read the 7 questions" in " ".join(advice(report, lost=7))
    assert any("--model base" in line for line in advice(replace(report, decision="worse")))
    assert any("Do not choose" in line for line in advice(replace(report, decision="undecided")))
    (served,) = [cell for cell in report.grid if (cell.arm, cell.context, cell.stratum) == ("tuned", "retrieved", "all")]
    poor = replace(served, metrics={**served.metrics, "f1": Estimate(0.1, 0.0, 0.2, 50)})
    told = advice(replace(report, grid=tuple(poor if cell is served else cell for cell in report.grid)))
    assert any("'ragtune evaluate --retrieval' lists every miss" in line for line in told)


@dataclass(frozen=True, slots=True)
class LaterReport(Report):
    """A report as a later version may make it."""

    stamina: tuple[Mapping[str, object], ...] = ()
    power: Mapping[str, object] = field(default_factory=dict)


def test_what_may_have_been_known_is_told_in_words(evaluation: Evaluation) -> None:
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved)
    answerable = sorted({p.id for p in evaluation.predictions if p.references})
    found = contamination(evaluation.predictions, answerable[:4], answerable[2:9])
    assert found.difference is not None
    made = render_html(
        replace(report, contamination=found), evaluation.predictions, evaluation.passages, evaluation.examples, PageMeta("Trial")
    )
    section = made[made.index('id="contamination"') :].split("</section>")[0]
    section = " ".join(re.sub("<[^>]+>", " ", section).split())
    assert f"nearly repeat a training question {found.near_identical}" in section
    assert f"evidence training answers quote {found.evidence_trained}" in section
    assert f"Left out: any of these {found.left_out}" in section
    assert f"n {found.difference.n}" in section
    assert "Near identical" not in section


def test_figures_that_the_page_does_not_know_are_shown_all_the_same(evaluation: Evaluation) -> None:
    report = score(evaluation.predictions, evaluation.examples, evaluation.retrieved)
    figure = {"value": 0.4321, "low": 0.3, "high": 0.5, "n": 77}
    held = {each.name: getattr(report, each.name) for each in fields(report)}
    first = report.grid[0]
    held["grid"] = (replace(first, metrics={**first.metrics, "rounds": Estimate(0.8765, None, None, 9)}), *report.grid[1:])
    later = LaterReport(
        **held,
        stamina=({"label": HOSTILE, "order": "new_order", "f1": figure, "curve": [1, 2]}, {"label": "k = 8", "f1": None}),
        power={"questions": 1234, "by_kind": [{"kind": "table", **figure}]},
    )
    text = render_html(later, evaluation.predictions, evaluation.passages, evaluation.examples, PageMeta("Trial"))
    tags(text)
    assert '<a href="#more-stamina">Stamina</a>' in text
    assert "<b>0.43</b> <i>[0.30, 0.50]</i> <small>n 77</small>" in text
    assert ">new order<" in text
    assert ">By kind</h3>" in text
    assert ">Rounds</th>" in text
    assert "0.88" in text


def test_every_figure_of_training_has_its_curve_and_a_table_stands_beside() -> None:
    steps = [{"step": n, "loss": 2.0 / n, "learning_rate": 1e-4, "gradient_norm": 1.0, "memory": 3.5, "tokens": 9} for n in range(1, 501)]
    steps[249] |= {"validation_loss": 0.5, "validation_f1": 0.31}
    steps[499] |= {"validation_loss": 0.4, "validation_f1": 0.42}
    text = learning_curves([Curves("a", "training", steps)])
    assert text.count("<figure>") == 5, "loss with validation, F1, learning rate, gradient norm, memory; tokens are no curve"
    assert "validation: 0.5 at step 250, 0.4 at step 500" in text
    assert max(len(points.split()) for points in re.findall(r'points="([^"]*)"', text)) <= 150
    assert text.count("<tr") < 50
    assert ">0.42<" in text
    both = learning_curves([Curves("a", "run-0", steps), Curves("b", "run-1", steps)])
    assert both.count("arm-run-1") > both.count("<figure>")
    assert learning_curves([Curves("a", "training", [])]) == ""


def test_headings_come_in_order_and_no_anchor_or_landmark_is_there_twice(evaluation: Evaluation) -> None:
    text = page(evaluation, PageMeta("Trial", training=[{"step": 1, "loss": 2.0}], commands=["ragtune evaluate"]))
    seen = tags(text)
    levels = [int(tag[1]) for tag, _ in seen if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in seen if "id" in attributes]
    regions = [attributes["aria-label"] for _, attributes in seen if attributes.get("role") == "region"]
    assert len(ids) == len(set(ids))
    titles = re.findall(r'<h2 id="[^"]*">([^<]*)</h2>', text)
    assert len([*regions, *titles]) == len({*regions, *titles})
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for tag, attributes in seen if attributes.get("role") == "img")


def test_text_keeps_its_contrast_in_light_and_dark() -> None:
    style = files("ragtune.page").joinpath("page.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+);", scheme)) for scheme in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(schemes) == 3, "light, dark, print"
    for colours in schemes:
        for ground in ("paper", "raised"):
            for ink in ("ink", "quiet", "accent"):
                assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for ground in ("tint", "left"):
            assert _contrast(colours["ink"], colours[ground]) >= 4.5, ground


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        text = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_without_a_script_the_questions_stand_as_a_list_that_does_not_grow_for_ever() -> None:
    text = page(make_evaluation(260, 60))
    plain = text[text.index("<noscript>") : text.index("</noscript>")]
    assert plain.count("<li>") == 200
    assert "And 60 more" in plain


def test_a_passage_that_was_purged_since_is_shown_without_marks(evaluation: Evaluation) -> None:
    purged = {key: replace(p, text=f"[purged] {p.text[40:]}") for key, p in evaluation.passages.items()}
    data = compare_questions(evaluation.predictions, purged, evaluation.examples)
    assert all(question["marks"] == [] for question in data["questions"])  # type: ignore[union-attr, call-overload, index]


def browse(text: str, probe: str, tmp_path: Path) -> str:
    """The page as a browser has it after a script of ours."""
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", *quiet, profile, "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_hostile_questions_as_text(evaluation: Evaluation, tmp_path: Path) -> None:
    probe = "document.querySelectorAll('.question').forEach((q) => { q.open = true; });"
    dom = browse(page(hostile(evaluation)), probe, tmp_path)
    shown = dom[dom.index('id="list"') :]
    assert "<title>Trial" in dom
    assert 'class="raw">&lt;/script&gt;' in shown
    assert "<img" not in dom
    assert "<mark class=" in shown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_searches_filters_sorts_and_shows_more(tmp_path: Path) -> None:
    large = make_evaluation(240, 60)
    probe = """
      const said = [];
      const note = () => said.push(document.getElementById("count").textContent, document.querySelectorAll(".question").length);
      const pick = (label, at) => {
        const select = [...document.querySelectorAll("label")].find((l) => l.textContent.startsWith(label)).querySelector("select");
        select.selectedIndex = at; select.dispatchEvent(new Event("change"));
      };
      note();
      document.getElementById("more").click(); note();
      said.push(document.activeElement.tagName);
      pick("Evidence", 3); note(); pick("Evidence", 0);
      pick("Sort by", 4); said.push(document.querySelector(".asked").textContent);
      const search = document.getElementById("search");
      search.value = "height hut"; search.dispatchEvent(new Event("input")); note();
      [...document.querySelectorAll(".asked")].forEach((q) => { if (!/height/.test(q.textContent)) said.push("!" + q.textContent); });
      document.querySelectorAll("#outcomes button")[1].click(); note();
      document.title = JSON.stringify(said);
    """
    dom = browse(page(large), probe, tmp_path)
    said = json.loads(unescape(re.search("<title>(.*?)</title>", dom)[1]))  # type: ignore[index]
    unanswerable = sum(not example.answers for example in large.examples)
    matching = [e for e in large.examples if "height" in e.question and "hut" in e.question]
    assert said[:4] == ["240 of 240 questions, the first 100 shown", 100, "240 of 240 questions, the first 200 shown", 200]
    assert said[4] == "SUMMARY", "the keyboard goes on at the first new one"
    assert said[5:7] == [f"{unanswerable} of 240 questions", unanswerable]
    assert said[7] == min(example.question for example in large.examples)
    assert said[9] >= len(matching) > 0
    assert said[-1] < said[9]
