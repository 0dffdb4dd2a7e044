from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from made_corpus import make_corpus, passage_of

from ragtune.dataset.audit import audit, nearest_questions, nearest_texts, trained_evidence
from ragtune.dataset.export import export_trl
from ragtune.dataset.raft import build_examples, by_split
from ragtune.dataset.shared import group_contexts
from ragtune.dataset.split import assign_splits
from ragtune.dataset.store import read_dataset, write_dataset
from ragtune.errors import ProjectError
from ragtune.prompts import build_messages
from ragtune.types import Evidence, Example, Message

CORPUS = make_corpus(documents=24, paragraphs=2)
BUILT = build_examples(CORPUS.questions, assign_splits(CORPUS.questions), CORPUS.retriever, CORPUS.chunks, passage_of)


def test_a_dataset_is_read_back_as_it_was_written_and_has_the_same_bytes_again(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", BUILT.examples, BUILT.passages)
    write_dataset(tmp_path / "b", BUILT.examples, dict(reversed(BUILT.passages.items())))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["passages.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl"]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    data = read_dataset(tmp_path / "a")
    splits = by_split(BUILT.examples)
    assert (data.train, data.validation, data.test) == (splits["train"], splits["validation"], splits["test"])
    assert data.passages == BUILT.passages


def test_what_else_is_known_of_questions_is_read_back(tmp_path: Path) -> None:
    first, second = (example.id for example in BUILT.examples[:2])
    fields = {second: {"needs": "ocr"}, first: {"synthesised_by": "a model", "extra": {"level": 3, "author": None}}}
    write_dataset(tmp_path, BUILT.examples, BUILT.passages, fields)
    assert read_dataset(tmp_path).fields == fields
    (tmp_path / "fields.jsonl").write_text('{"needs": "ocr"}\n')
    with pytest.raises(ProjectError, match=r"fields\.jsonl:1 is not a record of a dataset"):
        read_dataset(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")
def test_a_dataset_is_on_the_disk_with_the_names_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda at: (synced.append(stat.S_ISDIR(os.fstat(at).st_mode)), real(at)))
    write_dataset(tmp_path, BUILT.examples, BUILT.passages)
    assert synced == [False, True] * 4, "each file, then its folder"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_dataset_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    def damage(name: str, line: str) -> None:
        write_dataset(tmp_path, BUILT.examples, BUILT.passages)
        path = tmp_path / name
        lines = path.read_text().split("\n")
        path.write_text("\n".join([lines[0], line, *lines[2:]]))

    write_dataset(tmp_path, BUILT.examples, BUILT.passages)
    example = json.loads((tmp_path / "train.jsonl").read_text().split("\n")[1])
    for name, line, message in (
        ("train.jsonl", '{"id": ', r"train\.jsonl:2 is not a record of a dataset"),
        ("passages.jsonl", "[]", r"passages\.jsonl:2 is not a record"),
        ("train.jsonl", json.dumps(example | {"surprise": 1}), r"train\.jsonl:2 is not a record of a dataset .*surprise"),
        ("train.jsonl", json.dumps(example | {"split": "test"}), r"train\.jsonl:2: the example's split is 'test'"),
        ("train.jsonl", json.dumps(example | {"oracles": ["gone"]}), r"train\.jsonl:2: passage gone is not in passages\.jsonl"),
    ):
        damage(name, line)
        with pytest.raises(ProjectError, match=message):
            read_dataset(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    write_dataset(tmp_path, [], {})
    assert read_dataset(tmp_path).test == []
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(ProjectError, match=r"cannot read .*test\.jsonl"):
        read_dataset(tmp_path)
    with pytest.raises(ValueError, match="refers to passage"):
        write_dataset(tmp_path, BUILT.examples, {})


def test_an_exported_line_is_the_prompt_and_completion_that_are_trained_on(tmp_path: Path) -> None:
    train = by_split(BUILT.examples)["train"]
    groups = group_contexts(train, BUILT.passages, epoch=0, seed=0, p=0.9, k=3)
    assert export_trl(groups, tmp_path / "trl.jsonl") == len(train)
    first = json.loads((tmp_path / "trl.jsonl").read_text().split("\n")[0])
    branch = groups[0].branches[0]
    expected = build_messages(branch.question, groups[0].passages)
    assert first["prompt"] == [{"role": each.role, "content": each.content} for each in expected]
    assert first["completion"] == [{"role": "assistant", "content": branch.completion}]


def test_the_audit_finds_a_copied_question_and_counts_each_stratum() -> None:
    splits = by_split(BUILT.examples)
    copied = replace(splits["test"][0], id="copy", question=splits["train"][0].question.upper())
    examples = [*BUILT.examples, copied]
    report = audit(examples, seed=0, p=0.75, threshold=0.99)
    assert (report.nearest[0].test, report.nearest[0].train, report.nearest[0].similarity) == ("copy", splits["train"][0].id, 1.0)
    assert (report.near_identical, report.test) == (1, len(splits["test"]) + 1)
    assert [each.similarity for each in report.nearest] == sorted((each.similarity for each in report.nearest), reverse=True)
    assert sum(report.counts.values()) == len(examples)
    assert report.counts["train/-/-"] == len(splits["train"])
    assert report.realised_p == pytest.approx(0.75, abs=0.5 / len(splits["train"]) + 0.01)
    assert audit([], seed=0, p=1.0).realised_p is None


def test_evidence_that_training_answers_quote_is_found_in_runs_of_eight_words() -> None:
    base = next(each for each in BUILT.examples if each.evidence)
    sentence = "The old stone mill by the river was built by Willow Heron in the wet spring of 1731."

    def asked(id_: str, *texts: str) -> Example:
        return replace(base, id=id_, evidence=tuple(Evidence("d", 0, len(text), text) for text in texts))

    train = [replace(base, id="t", completion=f'"{sentence[:60]}"\nAnswer: Willow Heron')]
    words = sentence.rstrip(".").split()
    quoted = len(sentence[:60].split())
    shares = trained_evidence(
        train,
        [
            asked("whole", sentence),
            asked("quoted", " ".join(words[:9]).upper()),
            asked("short", "old stone mill"),
            asked("two words", "old stone"),
            asked("other", "The old stone mill by the sea was never built by anyone."),
            asked("half", " ".join(words[:8]), "Nothing of all this was ever said there."),
        ],
    )
    assert shares == {
        "quoted": 1.0, "short": 1.0, "half": 0.5, "whole": round((quoted - 7) / (len(words) - 7), 4),
    }  # fmt: skip
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_questions_of_a_script_without_spaces_are_compared_by_their_characters() -> None:
    (found,) = nearest_texts([("a", "中国的首都在哪里?"), ("b", "谁写了红楼梦?")], [("t", "中国的首都是哪里?")])
    assert found.train == "a"
    assert found.similarity > 0.5


def test_a_test_question_that_a_conversation_asked_before_is_found() -> None:
    splits = by_split(BUILT.examples)
    asked = splits["test"][0]
    history = (Message("user", asked.question), Message("assistant", "Ann."))
    told = replace(splits["train"][0], id="told", question="And when was that?", history=history)
    found = nearest_questions([told], [asked])
    assert [(each.train, each.test, each.similarity) for each in found] == [("told", asked.id, 1.0)]
