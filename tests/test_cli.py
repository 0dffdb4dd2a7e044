"""The command line: quick help, exit codes, JSON, and no traceback for a user's mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragtune import Project, __version__, cli
from ragtune.config import load_settings
from ragtune.doctor import run_checks
from ragtune.models.catalog import CATALOG
from ragtune.models.pull import _origin
from tiny_project import Sources

HEAVY = ("torch", "transformers", "tensorflow", "langchain", "faiss", "sentence_transformers", "numpy", "scipy")


def ragtune(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str, str]:
    """Run a command in this process as the installed script does; exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["ragtune", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return int(stopped.value.code or 0), out, err


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: ragtune(capsys, monkeypatch, *arguments)


COMMANDS = [
    [],
    ["ingest"],
    ["dataset"],
    ["dataset", "show"],
    ["dataset", "view"],
    ["models", "list"],
    ["train"],
    ["evaluate"],
    ["ask"],
    ["run"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_loads_nothing_heavy(command):
    code = f"""
import sys
from ragtune.cli import main
sys.argv = ["ragtune", *{command!r}, "--help"]
try:
    main()
except SystemExit as stopped:
    assert stopped.code == 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example: ragtune" in done.stdout or not command


def test_importing_the_package_loads_nothing_heavy_and_gives_its_public_names():
    code = f"""
import sys, ragtune
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
assert ragtune.Project and ragtune.Settings and ragtune.RagtuneError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_project_is_opened_without_torch(tmp_path):
    code = "import sys, ragtune; ragtune.Project.init(sys.argv[1]); assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p")], check=True)


def test_version(run):
    assert run("--version") == (0, f"ragtune {__version__}\n", "")


@pytest.mark.parametrize("module", ["ragtune", "ragtune.cli"])
def test_the_command_has_one_name_however_it_is_started(module):
    done = subprocess.run([sys.executable, "-m", module, "init", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: ragtune init" in done.stdout


def test_every_command_has_help(run):
    for command in ("init", "doctor", "ingest", "index", "search", "dataset", "models", "train", "evaluate", "report", "ask", "run"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "Usage" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["index"], "there is no ragtune project"),
        (["index", "--project", "absent"], "there is no folder"),
        (["index", "--project", "file"], "is a file"),
        (["index", "--project", "."], "no documents have been ingested"),
        (["search", "x", "--project", "."], "no documents have been ingested"),
        (["ask", "x", "--project", "."], "no documents have been ingested"),
        (["ask", " ", "--project", "."], "the question is empty"),
        (["search", " ", "--project", "."], "the text to look for is empty"),
        (["dataset", "--project", "."], "no documents have been ingested"),
        (["dataset", "show", "--project", "."], "run 'ragtune dataset'"),
        (["dataset", "stats", "--project", "."], "run 'ragtune dataset'"),
        (["dataset", "view", "--project", "."], "run 'ragtune dataset'"),
        (["dataset", "export", "out.jsonl", "--project", "."], "run 'ragtune dataset'"),
        (["dataset", "export", "out.jsonl", "--format", "csv", "--project", "."], "choose one of trl"),
        (["index", "--project", ".", "--set", "train.distractor_ranks=[9, 4]"], "write the first and the last rank"),
        (["dataset", "--questions", "q.jsonl", "show", "--project", "."], "leave them out before 'show'"),
        (["train", "--project", "."], "run 'ragtune dataset'"),
        (["evaluate", "--project", "."], "run 'ragtune train'"),
        (["evaluate", "--project", ".", "--split", "train"], "there is no split 'train'"),
        (["report", "--project", "."], "run 'ragtune evaluate'"),
        (["ask", "x", "--project", ".", "--model", "absent"], "absent"),
        (["ingest", "absent", "--project", "."], "absent"),
        (["ingest", "--project", "."], "set documents in ragtune.toml"),
        (["ingest", "", "--project", "."], "write . for that"),
        (["run", "--project", "."], "there are no documents"),
        (["run", "--project", ".", "--documents", "file", "--questions", "absent.jsonl"], "there is no question file"),
        (["run", "--project", ".", "--documents", "file", "--questions", "q.jsonl", "--budget", "soon"], "write it like 20m"),
        (["run", "--project", ".", "--documents", "file", "--questions", "file"], "file"),
        (["run", "--project", ".", "--documents", "file", "--questions", "empty.jsonl"], "no questions found"),
        (["index", "--project", ".", "--set", "train.epoch=2"], "did you mean train.epochs"),
        (["index", "--project", ".", "--set", "train.epochs=x"], "train.epochs = 'x'"),
        (["models", "pull", "smollm2"], "smollm2-135m-instruct"),
        (["search", "x", "-k", "0"], "-k"),
        (["serch"], "No such command"),
        (["index", "--jsn"], "No such option"),
        (["init", "done"], "exists already"),
        (["ingest", "notes.md", "--project", ".", "--set", "embed.model=no-such-model"], "no model named 'no-such-model'"),
    ],
)
def test_a_users_mistake_exits_2_with_one_message(run, tmp_path, arguments, expected):
    (tmp_path / "file").write_text("no questions here", encoding="utf-8")
    (tmp_path / "notes.md").write_text("# Notes\n\nThe crossing takes forty minutes.", encoding="utf-8")
    (tmp_path / "q.jsonl").write_text('{"id": "1", "question": "How long?", "answers": []}\n', encoding="utf-8")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "ragtune.toml").touch()
    code, out, err = run(*arguments)
    assert code == 2
    assert expected in " ".join(err.split())
    assert out == ""


def test_a_bug_shows_its_traceback(tmp_path):
    code = """
import sys
from ragtune import cli, project
project.Project.init = lambda *_, **__: 1 / 0
sys.argv = ["ragtune", "init", "x"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path):
    code = """
import os, signal, sys
from ragtune import cli, project
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with it ignored
project.Project.init = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["ragtune", "init", "x"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr.strip() == "stopped; run the same command again to go on"


def test_threads_of_one_process_do_not_starve_beside_another(run, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    run("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "77", "what a user set stays"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    run("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


def test_an_error_that_looks_like_markup_is_shown_as_it_is(run):
    code, _, err = run("index", "--project", "[red]x[/nonsense]")
    assert code == 2
    assert "[red]x[/nonsense]" in err


def test_init_makes_a_project_with_every_default_commented(run, tmp_path):
    (tmp_path / "docs").mkdir()
    code, out, err = run("init", "handbook", "--documents", "docs")
    assert (code, err) == (0, "")
    assert "handbook" in out
    assert "Set documents" not in out, "they were given"
    assert sorted(path.name for path in (tmp_path / "handbook").iterdir()) == [".env.example", ".gitignore", "questions", "ragtune.toml"]
    settings = load_settings(tmp_path / "handbook")
    assert settings.documents == (str(tmp_path / "docs"),)
    assert settings.train == load_settings(tmp_path).train
    assert ".env\n" in (tmp_path / "handbook" / ".gitignore").read_text()


def test_init_leaves_files_that_are_there(run, tmp_path):
    (tmp_path / ".gitignore").write_text("mine\n", encoding="utf-8")
    code, out, _ = run("init")
    assert code == 0
    assert f"Set documents in {tmp_path / 'ragtune.toml'}, or add --documents DIR to the command. Put questions" in out
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_commands_find_the_project_from_a_folder_below(run, tmp_path, monkeypatch):
    run("init")
    (tmp_path / "questions" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "questions" / "deep")
    assert Project().path == tmp_path


def test_doctor_names_keys_and_never_shows_them(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-do-not-show")
    run("init")
    code, out, err = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert set(checks["Python"]) == {"name", "state", "found", "advice"}
    assert checks["Key OPENAI_API_KEY"]["found"] == "set (environment)"
    assert [name for name in checks if name.startswith("Key ")] == ["Key OPENAI_API_KEY"], "nothing here wants another"
    assert {"Cores", "Memory", "Disk", "GPU", "Project", "Model all-minilm-l6-v2"} <= checks.keys()
    assert code == int(any(check["state"] == "problem" for check in checks.values()))
    code, shown, _ = run("doctor")
    assert "sk-do-not-show" not in out + err + shown
    assert "OPENAI_API_KEY" in shown


def test_doctor_looks_at_the_files_of_the_projects_models(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RAGTUNE_CACHE", str(tmp_path / "cache"))

    def check(base: str, name: str | None = None) -> dict[str, str]:
        _, out, _ = run("doctor", "--json")
        return next(check for check in json.loads(out) if check["name"] == f"Model {name or base}")

    def use(base: str, embedder: str = "all-minilm-l6-v2") -> None:
        toml = f"[model]\nbase = {json.dumps(base)}\n[embed]\nmodel = {json.dumps(embedder)}\n"
        (tmp_path / "ragtune.toml").write_text(toml, encoding="utf-8")

    use("organisation/model")
    assert (check("organisation/model")["state"], check("all-minilm-l6-v2")["state"]) == ("note", "note")
    use("no-such-model")
    assert (check("no-such-model")["state"], check("no-such-model")["advice"]) == ("problem", "set model.base")
    own = tmp_path / "own"
    own.mkdir()
    use(str(own))
    assert "holds no config.json" in check(str(own))["found"]
    (own / "config.json").touch()
    (own / "model.safetensors").touch()
    assert "lacks its weights" in check(str(own))["found"]
    (own / "model.safetensors").write_bytes(b"x")
    assert check(str(own))["state"] == "ok"
    pulled = tmp_path / "cache" / "models" / "all-minilm-l6-v2"
    pulled.mkdir(parents=True)
    assert check("all-minilm-l6-v2")["found"] == "not fetched yet", "an empty folder is no model"
    (pulled / "ragtune.json").write_text(json.dumps(_origin(CATALOG["all-minilm-l6-v2"])), encoding="utf-8")
    assert (check("all-minilm-l6-v2")["state"], "models pull" in check("all-minilm-l6-v2")["advice"]) == ("problem", True)


def test_a_token_in_dotenv_reaches_the_libraries_that_load_models(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the environment's")
    (tmp_path / ".env").write_text("HF_TOKEN=hf-of-dotenv\n", encoding="utf-8")
    Project(tmp_path, create=True)
    assert os.environ["HF_TOKEN"] == "the environment's", "which comes first"  # noqa: S105
    monkeypatch.delenv("HF_TOKEN")
    Project(tmp_path, create=True)
    assert os.environ["HF_TOKEN"] == "hf-of-dotenv"  # noqa: S105
    (tmp_path / "other").mkdir()
    Project(tmp_path / "other", create=True)
    assert "HF_TOKEN" not in os.environ, "it is no other project's"


def test_doctor_asks_of_a_hosted_model_its_key_its_address_and_its_package(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("COMPATIBLE_BASE_URL", raising=False)
    toml = """
[model]
base = "openai:gpt-4.1-mini-2025-04-14"
[embed]
model = "compatible:e"
[teacher]
model = "vertex:gemini-3.5-flash"
[judge]
model = "together:m"
"""
    (tmp_path / "ragtune.toml").write_text(toml, encoding="utf-8")
    code, out, _ = run("doctor", "--json")
    found = {check["name"]: check for check in json.loads(out)}
    assert code == 1
    assert "OPENAI_API_KEY into .env" in found["Model openai:gpt-4.1-mini-2025-04-14"]["found"]
    assert found["Key OPENAI_API_KEY"]["state"] == "note"
    assert "which server?" in found["Model compatible:e"]["found"]
    vertex = found["Model vertex:gemini-3.5-flash"]["found"]
    assert "application-default login" in vertex
    assert "GOOGLE_CLOUD_PROJECT" in vertex
    (tmp_path / "account.json").touch()
    (tmp_path / ".env").write_text(
        "OPENAI_API_KEY=sk-x\nCOMPATIBLE_BASE_URL=http://localhost:1/v1\nGOOGLE_CLOUD_PROJECT=acme\n"
        f"GOOGLE_APPLICATION_CREDENTIALS={tmp_path / 'account.json'}\n",
        encoding="utf-8",
    )
    found = {check["name"]: check for check in json.loads(run("doctor", "--json")[1])}
    for name in ("openai:gpt-4.1-mini-2025-04-14", "compatible:e", "vertex:gemini-3.5-flash"):
        assert found[f"Model {name}"]["state"] == "ok", found[f"Model {name}"]
    assert "TOGETHER_API_KEY" in found["Model together:m"]["found"]
    assert found["Key TOGETHER_API_KEY"]["state"] == "note"
    assert found["Key OPENAI_API_KEY"]["found"] == "set (.env)"


@pytest.mark.parametrize("command", [["models", "choose"], ["models", "list"], ["models", "list", "--hosted"], ["doctor"]])
def test_json_can_be_had_without_a_project(run, command):
    _, out, err = run(*command, "--json")
    assert json.loads(out), err


def test_a_trial_without_a_success_exits_2_with_the_reasons(run, project: Path):
    for stage in ("ingest", "index", "dataset"):
        assert run(stage, "--project", project, "--set", "dataset.validation_share=0.3")[0] == 0
    code, out, _ = run("models", "choose", "--try", "--model", "openai:gpt-6-luna", "--project", project)
    assert code == 2
    assert "OPENAI_API_KEY" in out
    code, _, err = run("models", "choose", "--try", "--memory", "0", "--project", project)
    assert code == 2
    assert "no model fits that could be asked now" in err


def test_the_index_explains_itself_and_is_built_anew_when_told_to(run, project: Path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    code, _, err = run("index", "--explain", "--project", project)
    assert (code, "there is no index yet: run 'ragtune index'" in err) == (2, True)
    for stage in ("ingest", "index"):
        assert run(stage, "--project", project)[0] == 0
    code, out, _ = run("index", "--explain", "--project", project)
    assert code == 0
    assert "flat" in out
    assert "fewer than 50,000, and exact search takes about a millisecond" in " ".join(out.split())
    assert "from 50,000 vectors on: ivf" in " ".join(out.split())
    assert "last change built whole" in " ".join(out.split())
    told = json.loads(run("index", "--explain", "--json", "--project", project)[1])
    assert (told["kind"], told["current"], told["due"], told["measured"]) == ("flat", True, None, None)
    assert json.loads(run("index", "--json", "--project", project)[1])["action"] == "unchanged"
    assert json.loads(run("index", "--rebuild", "--json", "--project", project)[1])["action"] == "built"
    assert json.loads(run("index", "--explain", "--json", "--project", project)[1])["built"]["at"] > told["built"]["at"]


def test_a_dataset_is_counted_shown_and_exported(run, project: Path, tmp_path: Path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    for command in (["ingest"], ["dataset", "--name", "one"]):
        assert run(*command, "--project", project)[0] == 0
    code, out, _ = run("dataset", "stats", "--project", project)
    assert (code, "abstaining" in out, "evidence shown" in out, "ranks of the distractors" in out) == (0, True, True, True)
    figures = json.loads(run("dataset", "stats", "one", "--json", "--project", project)[1])
    assert figures["tokens"]["context"]["n"] == figures["contexts"]
    viewed = json.loads(run("dataset", "view", "--limit", 2, "--output", tmp_path / "v.html", "--json", "--project", project)[1])
    assert (viewed["contexts"], Path(viewed["path"])) == (2, tmp_path / "v.html")
    code, out, _ = run("dataset", "export", tmp_path / "out.jsonl", "--format", "raft", "--project", project)
    assert (code, " ".join(out.split()).endswith(f"train questions of one as raft in {tmp_path / 'out.jsonl'}")) == (0, True)


@pytest.mark.parametrize(("cuda", "said"), [("13.0", "no GPU or driver answers"), (None, "a build for CPUs alone")])
def test_doctor_says_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: str | None, said: str):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    for device in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)
    gpu = next(check for check in run_checks(tmp_path, load_settings(tmp_path)) if check.name == "GPU")
    assert (gpu.state, said in gpu.found) == ("note", True)


def test_doctor_works_outside_a_project(run):
    code, out, _ = run("doctor", "--json")
    assert code in (0, 1)
    assert "ragtune init" in json.dumps(json.loads(out))


def test_models_list(run):
    code, out, _ = run("models", "list", "--json")
    assert code == 0
    models = {model["id"]: model for model in json.loads(out)}
    assert models["smollm2-135m-instruct"]["kind"] == "chat"
    assert set(models["all-minilm-l6-v2"]) == {"id", "kind", "parameters", "licence", "folder", "summary", "hub_id"}
    assert models["all-minilm-l6-v2"]["hub_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "all-minilm-l6-v2" in " ".join(run("models", "list")[1].split())


def loaded(done: tuple[int, str, str]) -> Any:
    assert done[0] == 0, done[2]
    return json.loads(done[1])


def test_ingest_index_and_search_print_json_alone_on_stdout(run, project: Path, sources: Sources):
    (sources.documents / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    (sources.documents / "picture.xyz").write_bytes(b"\0\1\2")
    ingested = loaded(run("ingest", "--project", project, "--json"))
    names = {"read", "skipped", "left_out", "duplicates", "removed", "unchanged", "documents", "chunks", "repairs", "retagged", "seconds"}
    assert set(ingested) == names
    assert (ingested["documents"], len(ingested["read"])) == (8, 8)
    assert ingested["read"][0] == {"source": "ardmoor.md", "reason": "new"}
    assert {each["source"] for each in ingested["skipped"]} == {"broken.pdf", "picture.xyz"}
    assert all(each["reason"] for each in ingested["skipped"])
    code, out, err = run("ingest", "--project", project)
    assert code == 0
    assert "0 read, 10 unchanged" in out.replace("8 unchanged", "10 unchanged")
    assert "skipped: picture.xyz — no reader" in out
    assert "broken.pdf" not in err, "it is told once"
    indexed = loaded(run("index", "--project", project, "--json"))
    assert indexed["embedded"] == indexed["vectors"] == ingested["chunks"]
    hits = loaded(run("search", "Who built the mill of Calder?", "-k", "2", "--project", project, "--json"))
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert set(hits[0]) == {"rank", "score", "source", "heading", "start", "end", "text", "sure"}
    assert hits[0]["source"] == "calder.md"
    code, out, _ = run("search", "Who built the mill of Calder?", "--project", project)
    assert "1. calder.md › Calder › The mill of Calder" in out


def test_an_ingest_says_everything_once_with_each_name_once(run, project: Path, sources: Sources):
    (sources.documents / "broken.pdf").write_bytes(b"no pdf")
    code, out, err = run("ingest", "--project", project)
    assert (code, err) == (0, "")
    assert "8 read, 0 unchanged, 0 removed, 1 skipped, 0 duplicates: 8 documents in " in out
    assert [line for line in out.splitlines() if "broken.pdf" in line] == [
        "  skipped: broken.pdf is not a PDF: it does not start with %PDF-"
    ]
    (sources.documents / "broken.pdf").unlink()
    assert "  1 not among the sources any more: broken.pdf\n" in run("ingest", "--project", project)[1]


def test_a_search_says_why_it_finds_nothing(run, project: Path):
    run("ingest", "--project", project)
    code, _, err = run("search", "mill", "--project", project)
    assert (code, "there is no index yet: run 'ragtune index'" in err) == (2, True)
    run("index", "--project", project)
    assert run("search", "mill", "--source", "nope/*", "--project", project) == (0, "no document fits 'nope/*'\n", "")
    assert run("search", "mill", "--source", "nope/*", "--json", "--project", project) == (0, "[]\n", "")
    assert run("search", "mill", "--type", "foo", "--source", "*", "--project", project)[1] == "no document fits '*' and 'foo'\n"


def test_a_locked_project_exits_2(run, project: Path):
    code = """
import sys, time
from pathlib import Path
from ragtune.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock("train"):
    print("held", flush=True)
    time.sleep(3600)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(project)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            exit_code, _, err = run("ingest", "--project", project)
            mistyped = [
                run(*command, "--project", project)[2]
                for command in (["run", "--budget", "soon"], ["ingest", ""], ["ingest", "--set", "train.epoch=2"])
            ]
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    assert exit_code == 2
    assert f"'ragtune train' (process {holder.pid}" in err
    assert not any("is writing" in each for each in mistyped), "what is mistyped is said whoever holds the lock"


def test_revoking_all_keys_says_who_may_ask_now_also_where_there_was_none(run):
    assert run("init", "handbook")[0] == 0
    assert run("keys", "add", "website", "--project", "handbook")[0] == 0
    assert run("keys", "revoke", "--all", "--project", "handbook") == (
        0,
        "revoked website\n",
        "everybody on this machine may ask without one\n",
    )
    code, out, err = run("keys", "revoke", "--all", "--project", "handbook")
    assert (code, out) == (0, "")
    assert err == "there was no key to revoke: everybody on this machine may ask without one\n"
