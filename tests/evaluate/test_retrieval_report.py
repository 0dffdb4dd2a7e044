"""The retrieval report's figures and threshold by hand, and that its page says what it is given."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console

from ragtune.errors import EvaluationError
from ragtune.evaluate.retrieval_page import render_retrieval, retrieval_table
from ragtune.evaluate.retrieval_report import Found, RetrievalReport, Retrieved, choose_threshold, misses, retrieval_rows
from ragtune.types import Evidence, Example, Span


def asked(name: str, rank: int | None, score: float, *, answerable: bool = True) -> Retrieved:
    """A question whose evidence is at a rank of five, or at none."""
    evidence = (Evidence("gold.md", 10, 14, "gold"),) if answerable else ()
    example = Example(name, f"{name}? <b>", ("gold",), "", (), (), evidence, "validation", None, name, "fact")
    passages = [[Span("gold.md", 8, 20)] if at == rank else [Span("else.md", 0, 9)] for at in range(1, 6)]
    found = tuple(
        Found(at, score, spans[0].document, spans[0].start, spans[0].end, "Head", "<i>text</i>") for at, spans in enumerate(passages, 1)
    )
    return Retrieved(example, passages, found, score)


def test_rows_are_means_of_their_questions() -> None:
    questions = [asked("a", 1, 1), asked("b", 3, 1), asked("c", None, 1)]
    first, second = retrieval_rows(questions, {"a": ("x",), "b": ("x", "y"), "c": ("x",)}, [1, 3], seed=0)
    assert (first.label, first.n, second.label, second.n) == ("x", 3, "y", 1)
    assert {name: estimate.value for name, estimate in first.metrics.items()} == pytest.approx(
        {"recall@1": 1 / 3, "recall@3": 2 / 3, "ndcg@3": (1 + 0.5) / 3, "mrr": (1 + 1 / 3) / 3}
    )
    assert [(miss.id, len(miss.found)) for miss in misses(questions, 2)] == [("b", 2), ("c", 2)]


def test_the_threshold_is_the_lowest_score_that_is_precise_enough() -> None:
    good = [asked(f"good{n}", 1, 0.9 - n / 100) for n in range(12)]
    bad = [asked(f"bad{n}", None, 0.7 - n / 100) for n in range(4)]
    none = [asked(f"none{n}", None, 0.5, answerable=False) for n in range(4)]
    found = choose_threshold([*good, *bad, *none], k=2, wanted=0.85)
    # 12 good ones down to .79, then bad ones at .70, .69, …: 12/13 = .92, 12/14 = .857, 12/15 = .8.
    assert (found.score, found.coverage, found.missed, found.n) == pytest.approx((0.69, 14 / 20, 0, 20))
    assert found.precision == pytest.approx(12 / 14)
    assert choose_threshold([*good, *bad, *none], k=2, wanted=1.0).score == pytest.approx(0.79)


def test_equal_scores_pass_together_and_a_precision_that_no_score_gives_is_said() -> None:
    same = [asked(f"g{n}", 1, 0.5) for n in range(15)] + [asked(f"b{n}", None, 0.5) for n in range(5)]
    assert choose_threshold(same, k=2, wanted=0.75).score == 0.5
    with pytest.raises(EvaluationError, match=r"the best is 0\.75"):
        choose_threshold(same, k=2, wanted=0.8)
    with pytest.raises(EvaluationError, match="3 questions"):
        choose_threshold([asked(f"g{n}", 1, 0.5) for n in range(3)], k=2, wanted=0.5)


def test_page_and_terminal_name_the_miss_and_what_was_served_and_run_nothing_of_it() -> None:
    questions = [asked("a", 1, 1), asked("c", None, 0.25)]
    (row,) = retrieval_rows(questions, {"a": ("all",), "c": ("all",)}, [1, 3], seed=0)
    report = RetrievalReport("test", "data-1", 3, {}, row, (row,), (row,), tuple(misses(questions, 3)), ("s",), 2)
    page = render_retrieval(report, "today")
    assert "c? &lt;b&gt;" in page
    assert "gold.md[10:14]" in page
    assert page.count("else.md[0:9]") == 3
    assert "<i>" not in page
    assert "read 2 times" in page
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(retrieval_table(report))
    assert "wanted gold.md[10:14]; found 1. else.md[0:9]" in shown.get()
    assert "1 questions were left out" in shown.get()


def test_a_terminal_says_what_the_rows_are_and_how_much_is_left_out() -> None:
    questions = [asked(f"q{number}", None, 0.25) for number in range(26)]
    (row,) = retrieval_rows(questions, {each.example.id: ("all questions",) for each in questions}, [3, 10], seed=0)
    kind, source = replace(row, label="one-hop"), replace(row, label="lines/wind-and-storms-of-the-far-north.md")
    report = RetrievalReport("validation", "data-1", 3, {}, row, (kind,), (source,) * 15, tuple(misses(questions, 3)))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(retrieval_table(report))
    lines = [line.rstrip() for line in shown.get().splitlines()]
    assert lines.index("by kind") < next(place for place, line in enumerate(lines) if line.startswith("one-hop")) < lines.index("by source")
    assert "…" not in "".join(lines[: lines.index("by source") + 3]), "no source is cut"
    assert "lines/wind-and-storms-of-the-far-north.md" in "".join(line.split(" ")[0] for line in lines)
    assert "… and 3 more, in report.html" in lines
    assert lines[-1] == "  … and 18 more, in report.html"


def test_a_table_s_heading_stays_when_the_table_is_scrolled() -> None:
    questions = [asked("a", 1, 1)]
    (row,) = retrieval_rows(questions, {"a": ("all",)}, [3], seed=0)
    page = render_retrieval(RetrievalReport("validation", "data-1", 3, {}, row, (row,), (), ()), "today")
    assert re.findall(r"<h2>([^<]+)</h2>", page) == ["All questions", "By kind", "Misses"]
    assert '<h2>By kind</h2><div class="scroll"' in page
