from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

import ragtune
from ragtune.prepare import ReadResult, Source, find_sources, read_sources
from ragtune.prepare.read import csv
from waiting import PATIENCE_S

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")

HANG = "import time\ndef read(source):\n    time.sleep(3600)\n"
CRASH = "import os\ndef read(source):\n    os.abort()\n"
HUNGRY = "def read(source):\n    return bytearray(3 << 30)\n"
BUG = "def read(source):\n    print('noise on standard output')\n    return {}['nothing']\n"
FETCH = "import socket\ndef read(source):\n    socket.create_connection(('127.0.0.1', 9))\n"
RUN = "import subprocess\ndef read(source):\n    subprocess.run(['true'])\n"
WRITE = "def read(source):\n    open(str(source.path) + '.out', 'w')\n"
ENVIRONMENT = (
    "import os\nfrom ragtune.types import Document\ndef read(source):\n    return [Document(source.name, 't', str(sorted(os.environ)))]\n"
)


def results(folder: Path, **options: object) -> dict[str, ReadResult]:
    return {result.source.name: result for result in read_sources(find_sources([folder]), **options)}  # type: ignore[arg-type]


def run_with(evil_reader: str, folder: Path, tmp_path: Path, timeout_s: float = PATIENCE_S, memory_mb: int = 1024) -> dict[str, str]:
    """Read a folder with the package's HTML reader replaced; gives what became of each file."""
    package = tmp_path / "package"
    source = Path(ragtune.__file__).parent
    for path in source.rglob("*.py"):
        if "prepare" in path.parts or path.parent == source:
            target = package / "ragtune" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (package / "ragtune/prepare/read/html.py").write_text(evil_reader)
    program = (
        "import json, sys; from pathlib import Path; from ragtune.prepare import find_sources, read_sources\n"
        f"found = read_sources(find_sources([Path({str(folder)!r})]), {timeout_s}, {memory_mb}, 1)\n"
        "def told(r):\n"
        "    if r.source.name.endswith('.zip'):\n"
        "        return ' '.join(d.source for d in r.documents) + '|' + ' '.join(s.reason for s in r.skipped)\n"
        "    return r.documents[0].text\n"
        "json.dump({r.source.name: r.reason or told(r) for r in found}, sys.stdout)"
    )
    environment = os.environ | {"PYTHONPATH": str(package), "OPENAI_API_KEY": "secret"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    outcome: dict[str, str] = json.loads(run.stdout)
    return outcome


@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        (HANG, "took more than 5 s and was stopped"),
        (CRASH, r"crashed its parser \(signal SIGABRT\)"),
        (HUNGRY, "took more than 1024 MiB of memory"),
        (BUG, "cannot be read: KeyError"),
        (FETCH, "socket.getaddrinfo is not allowed"),
        (RUN, "subprocess.Popen is not allowed"),
        (WRITE, "writing .* is not allowed"),
    ],
)
def test_a_misbehaving_parser_costs_its_file_only(tmp_path: Path, reader: str, reason: str) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.md", "b.html", "c.md", "d.html", "e.md"):
        (folder / name).write_text("# Fine\n\nText.")
    outcome = run_with(reader, folder, tmp_path, timeout_s=5.0 if reader == HANG else PATIENCE_S)  # the others are read in milliseconds
    assert list(outcome) == ["a.md", "b.html", "c.md", "d.html", "e.md"]
    for name, text in outcome.items():
        if name.endswith(".md"):
            assert text == "# Fine\n\nText."
        else:
            assert re.search(reason, text), text
    assert not (folder / "b.html.out").exists()


def test_the_children_do_not_inherit_keys(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "b.html").write_text("x")
    environment = run_with(ENVIRONMENT, folder, tmp_path)["b.html"]
    assert "PATH" in environment
    assert "OPENAI_API_KEY" not in environment


def test_results_come_in_order_with_progress(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}.md").write_text(f"# {i}\n\n" + "text " * (3000 if i % 7 == 0 else 1))
    (tmp_path / "15.md").write_text("")
    seen: list[tuple[int, int]] = []
    found = list(read_sources(find_sources([tmp_path]), workers=3, on_progress=lambda done, total, _source: seen.append((done, total))))
    assert [result.source.name for result in found] == [f"{i:02}.md" for i in range(30)]
    assert [result.source.name for result in found if result.documents is None] == ["15.md"]
    assert seen == [(i, 30) for i in range(1, 31)]


def test_stopping_early_leaves_no_child(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"{i}.md").write_text("text")
    before = {child.pid for child in psutil.Process().children()}
    reading = read_sources(find_sources([tmp_path]))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_file_that_vanished_is_a_reason(tmp_path: Path) -> None:
    (result,) = read_sources([Source(tmp_path / "gone.md", "gone.md")])
    assert result.documents is None
    assert "gone.md cannot be read: FileNotFoundError" in (result.reason or "")


def test_a_parser_that_breaks_on_a_member_of_an_archive_costs_that_member_only(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name in ("a.md", "b.html", "c.md", "d.html", "e.md"):
            archive.writestr(name, f"# {name}\n\nText.")
    outcome = run_with(CRASH, folder, tmp_path)
    documents, skipped = outcome["all.zip"].split("|")
    assert documents == "all.zip/a.md all.zip/c.md all.zip/e.md"
    assert re.findall(r"reading (\S+) crashed its parser", skipped) == ["all.zip/b.html", "all.zip/d.html"]


def test_an_archive_on_which_parsers_break_again_and_again_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.html", "x")
        archive.writestr("z.md", "never reached")
    assert re.search("all.zip holds nothing that can be read.*crashed its parser", run_with(CRASH, folder, tmp_path)["all.zip"])


def test_a_row_is_read_in_the_child_as_it_is_read_here(tmp_path: Path) -> None:
    path = tmp_path / "towers.csv"
    path.write_text("id,name,height\nA-02,Orchard Tower,13\nA-04,Velvet Tower,20\n", encoding="utf-8")
    (result,) = read_sources([Source(path, "towers.csv")])
    assert [document.text for document in result.documents] == [document.text for document in csv.read(Source(path, "towers.csv"))]
