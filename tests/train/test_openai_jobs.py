"""Tuning jobs of OpenAI's API: files held to its rules, one job whatever is cut off, every end said in the vendor's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from waiting import PATIENCE_S

openai = pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("google.genai", reason="google-genai is not installed")

from made_jobs import Notes, examples, follow, submit  # noqa: E402

from made_groups import group  # noqa: E402
from ragtune.dataset.export import export_openai  # noqa: E402
from ragtune.errors import ChatError, KeyRefusedError, TuningJobError, UnreachableError  # noqa: E402
from ragtune.prompts import build_messages  # noqa: E402
from ragtune.testing.loopback import Fault  # noqa: E402
from ragtune.testing.tuning_server import KEY, TuningServer  # noqa: E402
from ragtune.train import jobs  # noqa: E402
from ragtune.train.openai import OpenAITuning  # noqa: E402
from ragtune.train.rules import OPENAI, check_file  # noqa: E402

BASE = "openai:gpt-4.1-mini-2025-04-14"


@pytest.fixture
def server(tmp_path):
    with TuningServer(tmp_path / "vendor") as running:
        yield running
    assert running.errors == []


def tuning(server: TuningServer, key: str = KEY) -> OpenAITuning:
    client = openai.OpenAI(api_key=key, base_url=server.url, max_retries=0, timeout=PATIENCE_S)
    return OpenAITuning(BASE, BASE.partition(":")[2], client=client, secret=key, key_variable="OPENAI_API_KEY")


@pytest.fixture
def intent(tmp_path) -> jobs.TuningRecord:
    return jobs.write_record(tmp_path, jobs.new_record(BASE, {}))


def test_a_file_holds_the_prompts_of_local_training_one_line_an_answer(tmp_path):
    training, _ = examples(tmp_path)
    one = group(1, 2)
    assert export_openai([one], tmp_path / "two.jsonl") == 2
    lines = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text(encoding="utf-8").splitlines()]
    for line, branch in zip(lines, one.branches, strict=True):
        prompt = [{"role": each.role, "content": each.content} for each in build_messages(branch.question, one.passages)]
        assert line == {"messages": [*prompt, {"role": "assistant", "content": branch.completion}]}
    check = check_file(training, OPENAI)
    assert (check.examples, check.problems) == (14, ())
    assert check.tokens == pytest.approx(training.stat().st_size / 4, rel=0.2)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "it is not JSON"),
        ('{"prompt": "x"}', "there are no messages"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "the last message is the user's"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "the role 'tool' is none of"),
        ('{"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]}', "the user message is empty"),
        (json.dumps({"messages": [{"role": "assistant", "content": "word " * 60_000}]}), "an example may have 65,536"),
    ],
)
def test_what_the_vendor_would_refuse_is_said_with_its_line(tmp_path, line, fault):
    training, _ = examples(tmp_path)
    text = training.read_text(encoding="utf-8").splitlines()
    training.write_text("\n".join([*text[:2], line, *text[2:]]) + "\n", encoding="utf-8")
    (problem,) = check_file(training, OPENAI).problems
    assert problem.startswith("training.jsonl:3: ")
    assert fault in problem


def test_fewer_examples_than_ten_are_refused_to_train_on_and_not_to_watch(tmp_path):
    export_openai([group(number) for number in range(9)], tmp_path / "few.jsonl")
    assert "has 9 examples, and must have 10" in check_file(tmp_path / "few.jsonl", OPENAI).problems[0]
    assert check_file(tmp_path / "few.jsonl", OPENAI, training=False).problems == ()


def test_a_job_is_followed_to_its_model_and_its_losses_are_kept(server, tmp_path, intent):
    notes = Notes()
    record = submit(tuning(server), tmp_path, intent)
    done = follow(tuning(server), tmp_path, record, notes)
    assert (done.end, done.model) == ("succeeded", "ft:gpt-4.1-mini-2025-04-14:org-stub:handbook:0001")
    assert done.trained_tokens == 1400
    assert jobs.read_record(tmp_path) == done
    steps = [json.loads(line) for line in (tmp_path / jobs.METRICS).read_text(encoding="utf-8").splitlines()]
    assert [(line["step"], line["loss"]) for line in steps] == [(1, 2.0), (2, 1.0), (3, 0.6667), (4, 0.5)]
    assert jobs.last_losses(tmp_path) == (0.5, 1.5)
    assert [note for note in notes.notes if "is" in note] == [
        f"train: the job is {status}" for status in ("validating_files", "queued", "running", "succeeded")
    ]
    assert notes.notes.count("train: Created fine-tuning job: ftjob-0001") == 1
    (job,) = server.jobs.values()
    assert (job["epochs"], job["seed"], job["tag"]) == (1, 7, {"ragtune": intent.tag})
    assert server.content(job["training"]) == (tmp_path / "training.jsonl").read_bytes()
    assert [each.step for each in tuning(server).checkpoints(record.job or "")] == [2, 4]


@pytest.mark.parametrize("cut", ["before", "after", "middle"])
def test_a_connection_cut_while_a_job_is_asked_for_starts_one_job(server, tmp_path, intent, cut):
    server.faults["create"] = [Fault(cut=cut)]
    record = submit(tuning(server), tmp_path, intent)
    assert list(server.jobs) == [record.job]


@pytest.mark.parametrize("status", [500, 502, 429])
def test_a_server_that_fails_for_a_while_is_asked_again(server, tmp_path, intent, status):
    server.faults["create"] = [Fault(status), Fault(status)]
    record = submit(tuning(server), tmp_path, intent)
    assert list(server.jobs) == [record.job]


def test_a_server_that_never_takes_the_job_is_given_up_and_asked_by_the_next_run(server, tmp_path, intent):
    server.faults["create"] = [Fault(500)] * 4
    with pytest.raises(UnreachableError):
        submit(tuning(server), tmp_path, intent)
    left = jobs.read_record(tmp_path)
    assert left is not None
    assert left.status == "creating"
    assert submit(tuning(server), tmp_path, left).job == "ftjob-0001"
    assert len(server.files) == 2, "the files are not sent again"


def test_a_job_is_found_by_its_file_where_a_server_keeps_no_metadata(server, tmp_path, intent):
    record = submit(tuning(server), tmp_path, intent)
    server.jobs["ftjob-0001"]["tag"] = None
    for number in range(2, 9):
        server.jobs[f"ftjob-{number:04}"] = {**server.jobs["ftjob-0001"], "training": "file-other"}
    assert tuning(server).find(intent.tag, record.training or "") == "ftjob-0001"
    assert tuning(server).find("ragtune-other", "file-none") is None


def test_an_upload_whose_answer_was_lost_is_found(server, tmp_path, intent):
    server.faults["upload"] = [Fault(cut="after")]
    with pytest.raises(UnreachableError):
        submit(tuning(server), tmp_path, intent)
    left = jobs.read_record(tmp_path)
    assert left is not None
    submit(tuning(server), tmp_path, left)
    assert len(server.files) == 2


def test_an_organisation_that_may_not_tune_is_told_what_to_do(server, tmp_path, intent):
    server.faults["create"] = [Fault(403, "training_not_available", "Training is not available to this organization")]
    with pytest.raises(TuningJobError, match=r"training_not_available.*smollm2-135m-instruct.*vertex:"):
        submit(tuning(server), tmp_path, intent)
    assert server.jobs == {}


def test_a_wrong_key_is_an_error_without_the_key(server, tmp_path, intent):
    wrong = "sk-wrong-key-abcdefgh1234"
    with pytest.raises(KeyRefusedError, match="OPENAI_API_KEY") as refused:
        submit(tuning(server, wrong), tmp_path, intent)
    assert wrong not in str(refused.value)


def test_an_unknown_model_is_refused_in_the_vendors_words(server, tmp_path, intent):
    server.faults["create"] = [Fault(400, "model_not_available", "Model gpt-9 is not available for fine-tuning")]
    with pytest.raises((TuningJobError, ChatError), match="not available for fine-tuning"):
        submit(tuning(server), tmp_path, intent)


def test_a_server_without_such_an_api_is_named_as_one(server):
    client = openai.OpenAI(api_key=KEY, base_url=f"{server.root}/v2", max_retries=0)
    service = OpenAITuning("compatible:m", "m", client=client)
    with pytest.raises(TuningJobError, match=r"no fine-tuning API like OpenAI's.*chat.base_urls"):
        service.find("ragtune-x", "file-1")


def test_a_file_that_the_vendor_finds_invalid_fails_the_job_with_its_reason(server, tmp_path, intent):
    few = tmp_path / "few.jsonl"
    export_openai([group(1)], few)
    service = tuning(server)
    training = service.upload(few, "few.jsonl")
    job = service.create(training, None, tag=intent.tag, suffix="x", seed=0)
    done = follow(service, tmp_path, jobs.write_record(tmp_path, jobs.TuningRecord(BASE, intent.tag, intent.created, job=job)))
    assert done.end == "failed"
    assert "must have at least 10" in done.reason


def test_a_failed_job_says_why(server, tmp_path, intent):
    server.script, server.reason = ["queued", "failed"], ("exceeded_quota", "the hard limit of the project was reached")
    done = follow(tuning(server), tmp_path, submit(tuning(server), tmp_path, intent))
    assert (done.end, done.reason) == ("failed", "exceeded_quota: the hard limit of the project was reached")


def test_a_status_that_nobody_knew_is_told_and_waited_on(server, tmp_path, intent):
    server.script = ["queued", "reticulating_splines", "paused", "running", "succeeded"]
    notes = Notes()
    assert follow(tuning(server), tmp_path, submit(tuning(server), tmp_path, intent), notes).end == "succeeded"
    assert "train: the job is reticulating_splines" in notes.notes


def test_a_job_is_cancelled_from_beside(server, tmp_path, intent):
    server.script = ["running"]
    record = submit(tuning(server), tmp_path, intent)
    tuning(server).cancel(record.job or "")
    assert follow(tuning(server), tmp_path, record).end == "cancelled"


def test_following_goes_on_after_the_server_was_gone(server, tmp_path, intent):
    server.script = ["running", "running", "running", "succeeded"]
    record = submit(tuning(server), tmp_path, intent)
    server.faults["events"] = [Fault(cut="middle")]
    with pytest.raises(UnreachableError):
        follow(tuning(server), tmp_path, record)
    server.stop()
    with pytest.raises(UnreachableError):
        follow(tuning(server), tmp_path, record)
    server.start()
    left = jobs.read_record(tmp_path)
    assert left is not None
    assert follow(tuning(server), tmp_path, left).end == "succeeded"
    assert list(server.jobs) == [record.job]


def test_a_damaged_record_is_not_taken_for_no_job(tmp_path):
    (tmp_path / jobs.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(TuningJobError, match="look for the job at the vendor"):
        jobs.read_record(tmp_path)


def test_no_key_is_written(server, tmp_path, intent):
    follow(tuning(server), tmp_path, submit(tuning(server), tmp_path, intent))
    written = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
