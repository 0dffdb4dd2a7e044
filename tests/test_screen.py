from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ragtune import cli, screen
from ragtune.dataset.statistics import Lengths, Statistics
from ragtune.doctor import Check
from ragtune.pipeline.records import DatasetResult, IndexResult, ModelResult, RetrieverResult, SearchHit
from ragtune.rag import Answer
from ragtune.screen import console as streams
from ragtune.screen import progress as progress_bars
from ragtune.types import Reason
from waiting import until


def test_the_time_left_is_counted_from_where_this_sitting_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    progress = screen.LiveProgress()
    progress.start("train", 100)
    now[0] += 60  # a model was loaded
    progress.update("train", 50)  # a killed run goes on at its 50th step
    now[0] += 30
    progress.update("train", 60)
    assert "train: 60 of 100, 120 s left" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [False, True])
def test_answers_of_one_batch_that_come_at_once_tell_nothing_of_the_time_left(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    now = [1000.0]
    monkeypatch.setattr(streams, "err", console)
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    progress = screen.LiveProgress()
    progress.start("evaluate", 141)
    now[0] += 40
    for done in range(1, 17):
        progress.update("evaluate", done)
        now[0] += 0.01
    if progress._bars is not None:
        progress._bars.refresh()
    assert "left" not in console.file.getvalue()
    now[0] += 32
    progress.update("evaluate", 17)
    if progress._bars is not None:
        progress._bars.refresh()
    progress.finish("evaluate", "done")
    assert ("0:04:09 left" if terminal else "17 of 141, 249 s left") in console.file.getvalue()


def test_a_stage_that_knows_the_time_left_is_believed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    progress = screen.LiveProgress()
    progress.start("train", 100)
    progress.update("train", 50, left=9000.0)
    now[0] += 30
    progress.update("train", 60, left=4000.0)
    assert "train: 60 of 100, 4000 s left" in capsys.readouterr().err


def test_a_bar_shows_the_time_left_that_its_stage_told(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(streams, "err", console)
    progress = screen.LiveProgress()
    progress.start("train", 100)
    progress.update("train", 50, left=9000.0)
    progress.update("train", 60, left=4000.0)
    assert progress._bars is not None
    progress._bars.refresh()
    progress.finish("train", "done")
    assert "1:06:40" in console.file.getvalue()


def test_a_bar_says_nothing_of_the_time_left_while_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(streams, "err", console)
    progress = screen.LiveProgress()
    progress.start("train", 100)
    progress.update("train", 50)
    assert progress._bars is not None
    progress._bars.refresh()
    progress.finish("train", "done")
    assert "50%" in console.file.getvalue()
    assert "left" not in console.file.getvalue()


def test_the_doctor_cuts_no_path_and_breaks_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    monkeypatch.setattr(streams, "out", console)
    path, command = f"/home/{'deep/' * 20}python", f"ragtune models pull {'long-' * 20}name"
    screen.show_checks([Check("Python", "ok", path), Check("Model smollm2", "note", "not fetched yet", command)])
    assert path in console.file.getvalue()
    assert f"→ {command}\n" in console.file.getvalue()


@pytest.mark.parametrize("name", ["red\x1b[31m.md", "title\x1b]0;x\x07.md", "c1\x9b2J.md", "turned\u202efdp.md"])
def test_names_of_files_steer_no_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen.show_hits([SearchHit(1, 1.0, name, "", 0, 4, f"text {name}")])
    screen.LiveProgress().note(f"skipped {name}")
    found = capsys.readouterr()
    for shown in (found.out, found.err):
        assert "⟨U+" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")


def test_what_is_found_is_wrapped_for_people_and_not_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hit = SearchHit(1, 1.0, "crossing.md", "The crossing › Times", 0, 4, "forty minutes " * 12)
    screen.show_hits([hit])
    assert capsys.readouterr().out.splitlines() == ["1. crossing.md › The crossing › Times  1.000", f"   {'forty minutes ' * 12}".rstrip()]
    terminal = Console(file=io.StringIO(), width=60, highlight=False, force_terminal=True, color_system=None)
    monkeypatch.setattr(streams, "out", terminal)
    screen.show_hits([hit])
    lines = terminal.file.getvalue().splitlines()
    assert len(lines) > 3
    assert all(line.startswith(("   forty", "   minutes")) for line in lines[1:])


def test_what_a_dataset_teaches_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = Lengths(least=20, median=30, ninth_decile=40, most=50, n=9)
    screen.show_statistics(
        Statistics(
            dataset="one", epoch=0, questions={"train": 9}, kinds={}, p=0.8, p_realised=0.75, contexts=7,
            questions_per_context={"1": 6, "2": 1}, passages_per_context={"3": 7}, oracles_per_question={"0": 1, "1": 8},
            distractor_ranks={"1": 4, "beyond 20": 2},
            answers={"quoted": 6, "abstaining": 2, "dropped": 1}, without_evidence=2, false_negatives=0.5, tokens={"answer": lengths},
        )
    )  # fmt: skip
    said = {line[:28].strip(): line[28:].strip() for line in capsys.readouterr().out.splitlines()[1:]}
    assert said["answers that are learnt"] == "6 quoted, 2 abstaining"
    assert said["in no context"] == "1 question"
    assert said["ranks of the distractors"] == "4 at 1, 2 beyond 20"
    assert said["tokens of an answer"] == "20 to 50, median 30, nine in ten up to 40"


def test_an_error_steers_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ragtune", "ingest", "gone\x1b[2J.md", "--project", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "gone⟨U+001B⟩[2J.md does not exist" in capsys.readouterr().err


def measured_retriever(*, better: dict[str, bool], adopted: tuple[str, ...] = ()) -> RetrieverResult:
    names = ("recall@3", "recall@10", "ndcg@10", "mrr")
    estimate = {"value": 0.5, "low": -0.4, "high": 0.6, "n": 30}
    arms, differences = ("untuned", "tuned", "untuned, re-ranked"), ("tuned − untuned", "untuned, re-ranked − untuned")
    figures = {
        "better": better,
        "decided_on": {"validation": 12, "cross_fitted": 18, "groups": 7},
        "measured": {arm: dict.fromkeys(names, estimate) for arm in arms},
        "differences": {arm: dict.fromkeys(names, estimate) for arm in differences},
    }
    return RetrieverResult("retriever-1", "folder", True, adopted, figures)


def test_a_tuned_retriever_s_figures_fit_into_80_columns_and_say_how_many_questions_they_rest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    monkeypatch.setattr(streams, "out", console)
    screen.show_retriever(measured_retriever(better={"embedder": False, "reranker": False}))
    lines = console.file.getvalue().splitlines()
    assert sum(line.startswith(("recall@", "ndcg@10", "mrr")) for line in lines) == 8, "no row is over several lines"
    assert any(line.count("0.500 [-0.400, 0.600]") == 3 for line in lines)
    assert any(line.count("+0.500 [-0.400, +0.600]") == 2 for line in lines)
    assert any(line.startswith("on 12 validation questions and 18 training questions") for line in lines)
    assert "it does not serve, as no part of it is clearly better on 30 questions; that is usual where there are few" in lines[-1]


def test_a_re_ranker_that_is_better_and_not_wanted_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show_retriever(measured_retriever(better={"embedder": False, "reranker": True}))
    assert "as only its re-ranker is clearly better and retriever.rerank is false" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("embedded", "said"),
    [
        (307, "307 chunks embedded, 350 vectors in the index (43 had theirs, or share it with an equal text): built in 1.0 s"),
        (350, "350 chunks embedded, 350 vectors in the index: built in 1.0 s"),
        (0, "0 chunks embedded, 350 vectors in the index: built in 1.0 s"),
    ],
)
def test_vectors_of_chunks_that_were_not_embedded_now_are_accounted_for(
    embedded: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    screen.show_index(IndexResult(embedded, 350, 1, "built", 1.0))
    assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize(("terminal", "after"), [(True, "_LONG_S"), (False, "_SILENT_S")])
def test_what_takes_long_is_told_and_nothing_of_what_does_not(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, after: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    monkeypatch.setattr(streams, "err", console)
    monkeypatch.setattr(progress_bars, after, 3600.0)
    with screen.waiting("loading models"):
        pass
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    monkeypatch.setattr(progress_bars, after, 0.01)
    with screen.waiting("loading models"):
        until(lambda: "loading models …" in console.file.getvalue())  # type: ignore[attr-defined]


def test_questions_left_out_for_one_reason_are_one_line_with_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    scanned = [Reason(f"q{n}", "needs ocr: without it scan.pdf could not be ingested") for n in range(8)]
    figures = {"questions": {"train": 1}}
    screen.show_dataset(DatasetResult("d", "folder", True, figures, (*scanned, Reason("q9", "dropped from train: it has no evidence"))))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert lines == [
        "left out: 8 (q0, q1, q2, …) — needs ocr: without it scan.pdf could not be ingested",
        "left out: q9 — dropped from train: it has no evidence",
    ]


def test_what_a_training_took_is_said_in_units_and_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"train_loss": 0.51234, "steps": 400, "seconds": 843.2, "predicted_seconds": None, "peak_memory": 2.9e9, "a": {"b": None}}
    screen.show_model(ModelResult("tuned", "folder", True, figures))
    said = dict(line.strip().split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert said == {"train_loss": "0.5123", "steps": "400", "seconds": "14 min", "peak_memory": "2.90 GB"}


def test_a_log_is_told_of_an_answer_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    log, answered = Console(file=io.StringIO(), width=80), threading.Event()
    monkeypatch.setattr(streams, "err", log)
    monkeypatch.setattr(progress_bars, "_SILENT_S", 0.01)

    def pieces() -> Iterator[str | Answer]:
        assert answered.wait(60)
        yield Answer("How long?", "forty minutes", "forty minutes", False, (), (), (), "base", "forty minutes")

    waited = threading.Thread(target=screen.show_answer, args=[pieces()])
    waited.start()
    until(lambda: "loading models and answering …" in log.file.getvalue())  # type: ignore[attr-defined]
    answered.set()
    waited.join()


def test_the_recall_of_a_dataset_is_named_as_a_share_of_questions(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"p_oracle": 0.9, "recall": {"train": 0.84, "validation": -1.0}}
    screen.show_dataset(DatasetResult("d", "folder", True, figures, ()))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == ["p_oracle 0.9", "questions with all evidence in the top k · train 0.84"]
