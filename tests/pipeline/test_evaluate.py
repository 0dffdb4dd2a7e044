"""Evaluations beyond a run's: against an earlier one, of other adapters, in other contexts, and cross-fitted."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project, cli
from ragtune.dataset.store import read_dataset
from ragtune.errors import EvaluationError
from ragtune.pipeline.arms import find_model, set_up_folds
from ragtune.pipeline.cells import sample_questions
from ragtune.pipeline.evaluation_page import page_meta
from ragtune.pipeline.robustness import changed_cells
from ragtune.pipeline.rules import VERSION, evaluation_key, rules_of
from ragtune.progress import Silent
from ragtune.types import Message
from ragtune.workspace import write_manifest
from tiny_project import write_project, write_sources

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

QUICK = ["train.epochs=1", "train.max_answers=8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_chat, tiny_embedder) -> Path:
    """A project with a dataset, two tuned models and an evaluation of each."""
    root = tmp_path_factory.mktemp("evaluate")
    folder = write_project(root / "project", write_sources(root / "sources"), tiny_chat, tiny_embedder)
    project = Project(folder, overrides=QUICK)
    project.ingest()
    project.dataset()
    project.train(name="one")
    project.evaluate(name="of-one")
    other = Project(folder, overrides=[*QUICK, "train.seed=7", "train.learning_rate=0.1"])
    other.train(name="two")
    other.evaluate(name="of-two")
    return folder


@pytest.fixture
def project(trained, tmp_path) -> Path:
    """A copy, a test's own."""
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process: exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragtune", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_gate_exits_1_where_its_condition_holds_and_prints_the_difference(project, run):
    arguments = ("evaluate", "--project", project, "--model", "two", "--against", "one")
    code, out, _ = run(*arguments, "--fail-if", "retrieved.f1 < -1", "--json")
    compared = json.loads(out)
    assert code == 0
    assert (compared["evaluation"], compared["against"]) == ("of-two", "of-one")
    assert (compared["model"], compared["model_against"]) == ("two", "one")
    change = next(row for row in compared["rows"] if (row["context"], row["metric"]) == ("retrieved", "completion_tokens"))["difference"]
    limit = change["value"] + 0.001
    code, out, _ = run(*arguments, "--fail-if", "retrieved.f1 < -1", "--fail-if", f"retrieved.completion_tokens < {limit}")
    assert code == 1
    assert "retrieved.f1 < -1: does not hold" in out
    assert f"retrieved.completion_tokens < {limit}: holds" in out
    assert "two against one, 95 %" in out
    assert "distractors.f1" not in out.replace("oracle+distractors.f1", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-if", "retrieved.f1 < 0"], "say --against NAME too"),
        (["--against", "one", "--fail-if", "retrieved.F3 < 0"], "there is no metric 'F3'"),
        (["--against", "three"], "no evaluation or model named three to compare with (evaluations: of-one, of-two)"),
        (["--against", "of-one", "--split", "validation"], "of-one asked test questions: compare with --split test"),
        (["--against", "one", "--split", "validation"], "run 'ragtune evaluate --model one --split validation'"),
    ],
)
def test_a_gate_that_cannot_compare_exits_2_before_anything_is_asked(project, run, arguments, message):
    before = sorted((project / ".ragtune" / "evaluations").iterdir())
    code, out, err = run("evaluate", "--project", project, *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert sorted((project / ".ragtune" / "evaluations").iterdir()) == before


def test_what_an_older_ragtune_evaluated_by_other_rules_is_compared_with_a_note(project, run):
    workspace = Project(project).workspace
    old, now = (workspace.find("evaluations", name) for name in ("of-one", "of-two"))
    assert (rules_of(old), rules_of(now)) == (VERSION, VERSION)
    write_manifest(workspace.artifact("evaluations", "of-one"), replace(old, key=evaluation_key(old.settings, old.inputs, VERSION - 1)))
    code, out, err = run("evaluate", "--project", project, "--model", "two", "--against", "of-one", "--json")
    assert code == 0, err
    (note,) = json.loads(out)["notes"]
    command = re.search("Run ragtune (evaluate --model one --split test.*) and compare", note)
    code, out, err = run(*shlex.split(command[1]), "--project", project, "--name", "again", "--quiet")
    assert code == 0, err
    code, out, err = run("evaluate", "--project", project, "--model", "two", "--against", "again", "--json")
    assert (code, json.loads(out)["notes"]) == (0, []), err


def answers(folder: str | Path, arm: str) -> dict[tuple[str, str], str]:
    return {(p["id"], p["context"]): p["raw"] for p in lines(Path(folder) / "predictions.jsonl") if p["arm"] == arm}


def test_two_models_are_arms_of_one_evaluation_and_answer_as_each_alone(project):
    made = Project(project, overrides=QUICK).evaluate(model="one", other="two")
    evaluations = project / ".ragtune" / "evaluations"
    assert answers(made.folder, "tuned") == answers(evaluations / "of-one", "tuned")
    assert answers(made.folder, "other") == answers(evaluations / "of-two", "tuned")
    assert answers(made.folder, "other") != answers(made.folder, "tuned")
    assert made.report.models["tuned"] == "one"
    assert made.report.models["other"] == "two"
    pairs = {(each.arm, each.against) for each in made.report.contrasts}
    assert {("tuned", "other"), ("other", "base-fewshot")} <= pairs
    assert made.report.named.arm == "tuned"
    assert made.report.named.against == "base-fewshot", "what was named beforehand stays"
    assert [cell.arm for cell in made.report.forgetting] == ["base", "tuned", "other"]
    assert "arm-other" in (Path(made.folder) / "report.html").read_text(encoding="utf-8")


def test_an_adapter_from_elsewhere_answers_as_it_does_in_the_project(project, tmp_path, run):
    elsewhere = shutil.copytree(project / ".ragtune" / "models" / "two" / "adapter", tmp_path / "downloaded" / "peft")
    code, out, err = run("evaluate", "--project", project, "--model", "one", "--model", elsewhere, "--name", "both", "--json")
    assert code == 0, err
    assert json.loads(out)["report"]["models"]["other"] == str(elsewhere)
    evaluations = project / ".ragtune" / "evaluations"
    inside = answers(evaluations / "of-two", "tuned")
    assert answers(evaluations / "both", "other") == inside
    assert answers(Project(project).evaluate(model=str(elsewhere)).folder, "tuned") == inside


def test_what_cannot_be_compared_in_one_evaluation_says_what_can(project, run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("evaluate", "--project", project, "--model", tmp_path / "empty")
    assert code == 2
    assert "holds no adapter_config.json and adapter_model.safetensors" in " ".join(err.split())
    code, _, err = run("evaluate", "--project", project, "--set", "evaluate.arms=['tuned','other']")
    assert code == 2
    assert "say --model twice" in " ".join(err.split())
    manifest = project / ".ragtune" / "models" / "two" / "manifest.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    values["settings"]["model"]["base"] = "smollm2-360m-instruct"
    manifest.write_text(json.dumps(values), encoding="utf-8")
    code, _, err = run("evaluate", "--project", project, "--model", "one", "--model", "two")
    assert code == 2
    assert "'ragtune evaluate --model one --against two'" in " ".join(err.split())


@pytest.mark.parametrize("arms", [["base"], ["base", "base-fewshot"]])
def test_without_the_tuned_model_there_are_figures_and_nothing_to_decide(project, run, arms):
    opened = Project(project, overrides=[*QUICK, f"evaluate.arms={arms}"])
    made = opened.evaluate(name="untuned")
    assert [*made.report.models] == arms
    assert made.report.cell("base", "retrieved").metrics["f1"].n
    assert made.report.sentence.startswith("There is nothing to decide")
    assert [cell.arm for cell in made.report.forgetting] == ["base"]
    page = html.unescape((Path(made.folder) / "report.html").read_text(encoding="utf-8"))
    (dataset,) = (project / ".ragtune" / "datasets").iterdir()
    assert f"ragtune evaluate --dataset {dataset.name} --split test --set 'evaluate.arms=" in page
    assert not opened.evaluate().made
    code, out, err = run("evaluate", "--project", project, "--model", "one", "--against", "two", "--json")
    assert code == 0, err
    assert json.loads(out)["against"] == "of-two", "an evaluation that did not ask a model is none of it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "evaluate.arms=['base']", "--model", "one", "--model", "two"], "add it to evaluate.arms, or say --model once"),
        (["--set", "evaluate.arms=['base']", "--against", "of-one"], "tuned must answer to be compared: add tuned to evaluate.arms"),
        (["--set", "evaluate.arms=['base']", "--against", "base-fewshot"], "tuned and base-fewshot must answer to be compared"),
        (["--set", "evaluate.arms=['base']", "--folds", "2"], "add tuned to evaluate.arms, or leave out --folds"),
        (["--set", "evaluate.arms=[]"], "name at least one"),
    ],
)
def test_arms_that_cannot_be_asked_are_refused_before_the_reading_counts(project, run, arguments, message):
    readings = (project / ".ragtune" / "test_readings.json").read_bytes()
    code, out, err = run("evaluate", "--project", project, "--set", "evaluate.seed=3", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert (project / ".ragtune" / "test_readings.json").read_bytes() == readings


def test_an_evaluation_without_the_tuned_model_is_nothing_to_compare_with(project):
    Project(project, overrides=[*QUICK, "evaluate.arms=['base']"]).evaluate(name="untuned")
    with pytest.raises(EvaluationError, match="untuned asked no tuned model"):
        Project(project, overrides=QUICK).evaluate_against("untuned", model="one")


def test_contexts_in_which_no_question_can_be_asked_are_refused_before_the_reading_counts(project):
    opened = Project(project)
    data = read_dataset(opened.workspace.artifact("datasets", opened.workspace.find("datasets", None).name))
    seed = next(seed for seed in range(99) if not sample_questions(data.test, 1, seed)[0].oracles)
    readings = (project / ".ragtune" / "test_readings.json").read_bytes()
    few = ["evaluate.max_questions=1", f"evaluate.seed={seed}", "evaluate.contexts=['oracle']"]
    with pytest.raises(EvaluationError, match=r"no context oracle: add retrieved to evaluate\.contexts"):
        Project(project, overrides=few).evaluate()
    assert (project / ".ragtune" / "test_readings.json").read_bytes() == readings


def test_models_with_different_chat_templates_are_not_asked_in_one_evaluation(project):
    manifest = project / ".ragtune" / "models" / "two" / "manifest.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    values["settings"]["model"]["chat_template"] = "{{ messages }}"
    manifest.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"different chat templates.*--model one --against two"):
        Project(project, overrides=QUICK).evaluate(model="one", other="two")


def test_an_adapter_from_elsewhere_is_asked_with_the_template_that_is_set(project, tmp_path):
    elsewhere = shutil.copytree(project / ".ragtune" / "models" / "two" / "adapter", tmp_path / "downloaded" / "peft")
    opened = Project(project, overrides=["model.chat_template='{{ messages }} {# no template of chats #}'"])
    found = find_model(opened.workspace, opened.settings, str(elsewhere), Silent())
    assert found.settings["model"]["chat_template"] == opened.settings.model.chat_template


def test_folds_of_a_model_from_before_rehearsal_are_trained_without(project):
    manifest = project / ".ragtune" / "models" / "one" / "manifest.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    del values["settings"]["train"]["rehearsal"]
    manifest.write_text(json.dumps(values), encoding="utf-8")
    opened = Project(project, overrides=QUICK)
    assert set_up_folds(opened.workspace, opened.settings, "one", None).settings.train.rehearsal == 0


def test_the_commands_on_the_page_make_the_evaluation_again(project):
    """Of two models, and of folds, which have no split."""
    opened = Project(project, overrides=[*QUICK, "evaluate.max_questions=3"])
    made = opened.evaluate(model="one", other="two", name="pair")
    page = html.unescape((Path(made.folder) / "report.html").read_text(encoding="utf-8"))
    (command,) = re.findall("ragtune evaluate --model one[^<]*", page)
    assert command.startswith("ragtune evaluate --model one --model two --split test --set ")
    assert "evaluate.arms" not in command, "a second --model is the arm other by itself"
    manifest = opened.workspace.find("evaluations", "pair")
    folds = replace(manifest, inputs={**manifest.inputs, "model_names": {}}, settings={**manifest.settings, "split": "all", "folds": 3})
    (command,) = page_meta(opened.workspace, folds).commands
    assert command.startswith(f"ragtune evaluate --folds 3 --dataset {manifest.inputs['dataset']} --set ")


def test_no_model_is_asked_its_own_training_questions(project):
    """Another seed splits the questions otherwise, so that one dataset's training questions are another's test."""
    other = Project(project, overrides=[*QUICK, "dataset.seed=5"])
    made = other.dataset(name="otherwise")
    with pytest.raises(EvaluationError, match=r"of otherwise were training questions of model one .*--dataset"):
        other.evaluate(model="one", dataset=made.name)


def test_changed_contexts_are_asked_of_a_sample_and_stand_in_the_report(project, run):
    code, out, err = run("evaluate", "--project", project, "--robustness", "--set", "evaluate.robustness=6", "--name", "robust", "--json")
    assert code == 0, err
    rows = json.loads(out)["report"]["robustness"]
    assert {row["change"] for row in rows} == {
        "one_passage", "twice_as_many", "shuffled", "reversed", "oracle_first", "oracle_last", "noise", "typos",
    }  # fmt: skip
    assert {row["arm"] for row in rows} == {"base-fewshot", "tuned"}
    assert max(row["questions"] for row in rows) == 6
    folder = project / ".ragtune" / "evaluations" / "robust"
    written = lines(folder / "robustness.jsonl")
    passages = {each["id"] for each in lines(folder / "passages.jsonl")}
    by_change = {row["change"]: [each for each in written if each["change"] == row["change"]] for row in rows}
    assert all(set(each["passages"]) <= passages for each in written)
    assert {len(each["passages"]) for each in by_change["twice_as_many"]} == {4}
    assert {len(each["passages"]) for each in by_change["one_passage"]} == {1}
    served = {p["id"]: p for p in lines(folder / "predictions.jsonl") if (p["arm"], p["context"]) == ("tuned", "retrieved")}
    assert all(each["passages"] == served[each["id"]]["passages"][::-1] for each in by_change["reversed"])
    assert all(each["question"] != served[each["id"]]["question"] for each in by_change["typos"])
    assert Project(project).report("robust").report.robustness
    again = Project(project).evaluate(model="two")
    assert not again.made
    assert again.name == "of-two", "an evaluation without robustness is what it was"


def test_changed_contexts_of_a_conversation_keep_what_was_said_before(project):
    opened = Project(project, overrides=["evaluate.robustness=2"])
    source = opened.workspace.find("datasets", None)
    data = read_dataset(opened.workspace.artifact("datasets", source.name))
    said = (Message("user", "Who built the bridge of Calder?"), Message("assistant", "Cobble Granite"))
    examples = [replace(example, history=said) for example in data.test]
    changed = changed_cells(data, examples, opened.settings, int(source.settings["retrieve"]["k"]))
    prompts = [prompt[-1].content for cells in changed.values() for cell in cells for prompt in cell.prompts]
    assert prompts
    assert all("- user: Who built the bridge of Calder?" in prompt for prompt in prompts)


def test_folds_ask_every_question_of_a_model_that_did_not_see_its_documents(project, run):
    arguments = ("evaluate", "--project", project, "--folds", "2", "--model", "one")
    code, out, err = run(*arguments, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["folds"], plan["done"], plan["answers"]) == (2, 0, 16)
    assert plan["seconds"] > 0
    assert not (project / ".ragtune" / "folds").exists(), "nothing is written"
    models = sorted(path.name for path in (project / ".ragtune" / "models").iterdir())
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    made = json.loads(out)
    predictions = [p for p in lines(Path(made["folder"]) / "predictions.jsonl") if (p["arm"], p["context"]) == ("tuned", "retrieved")]
    dataset = next((project / ".ragtune" / "datasets").iterdir())
    every = [each for split in ("train", "validation", "test") for each in lines(dataset / f"{split}.jsonl")]
    assert sorted(p["id"] for p in predictions) == sorted(each["id"] for each in every)
    assert len({p["model"] for p in predictions}) == 2
    folds = project / ".ragtune" / "folds" / f"{dataset.name}-2" / ".ragtune" / "datasets"
    for number in (1, 2):
        asked = {p["id"] for p in predictions if p["model"].startswith(f"fold {number} of 2")}
        assert asked == {each["id"] for each in lines(folds / f"fold-{number}" / "test.jsonl")}
        trained, tested = ({each["group"] for each in lines(folds / f"fold-{number}" / f"{split}.jsonl")} for split in ("train", "test"))
        assert not trained & tested
    report = made["report"]
    assert report["models"]["tuned"] == "2 folds"
    assert report["groups"] == len({each["group"] for each in every})
    assert any(note.startswith("Cross-fitted") for note in report["notes"])
    assert sorted(path.name for path in (project / ".ragtune" / "models").iterdir()) == models, "folds' models are nobody's newest"
    code, out, _ = run(*arguments, "--dry-run")
    assert "all 2 models are trained" in out
    assert not Project(project).evaluate(model="one", folds=2).made
    assert rules_of(Project(project).workspace.find("evaluations", made["name"])) == VERSION
    code, out, err = run(*arguments, "--against", made["name"], "--fail-if", "retrieved.f1 < 0")
    assert (code, "does not hold" in out) == (0, True), err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "90"], "90 folds cannot be made of the"),
        (["--folds", "2", "--split", "test"], "leave out --split"),
        (["--folds", "2", "--model", "one", "--model", "two"], "leave out the second --model"),
        (["--folds", "2", "--set", "evaluate.arms=['tuned','dsf']"], "folds have no arm dsf"),
        (["--dry-run"], "say --folds too"),
    ],
)
def test_folds_that_cannot_be_made_say_why(project, run, arguments, message):
    code, _, err = run("evaluate", "--project", project, *arguments)
    assert code == 2
    assert message in " ".join(err.split())
