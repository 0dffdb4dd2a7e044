"""Ingest, index and run at size: seconds and memory from nothing, unchanged, after a kill, and until a changed document is found.

    python benchmarks/ingest_scale.py --files 3000 9000 30000 --run
    python benchmarks/ingest_scale.py --files 3000 --embedder all-minilm-l6-v2 --output benchmarks/results/ingest_scale_minilm.json

Writes synthetic Markdown files (a tenth nearly the same as another, a twentieth exact copies), about 3.4 chunks each, and gives them to the
command line, each command a process of its own, whose peak memory and processor time (its children's included) are taken. ``static`` is an
embedder of random token vectors, as long as MiniLM's and with its tokenizer: real to store, to index and to find words by, and cheap to
embed with. Ingest and index are killed halfway and run again. ``--run`` trains and evaluates a tiny random model on a few questions, so
that a finished project can be run again. Writes ``benchmarks/results/ingest_scale.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from ragtune import Project, build
from ragtune.models import resolve
from ragtune.pipeline import ingest as ingesting
from ragtune.prepare import chunk_document, find_sources
from ragtune.types import Document
from ragtune.workspace import hash_file, library_versions, write_json
from tiny_project import write_sources

RESULTS = Path(__file__).parent / "results" / "ingest_scale.json"
PARTS = ("ba", "ke", "li", "mo", "su", "tra"), ("n", "r", "st", "ll", "d"), ("a", "er", "ing", "o", "um")
SYLLABLES = ["".join(parts) for parts in itertools.product(*PARTS)]
VOCABULARY = [one + other for one in SYLLABLES for other in SYLLABLES[::5]]
RANKS = [1 / (rank + 3) for rank in range(len(VOCABULARY))]  # Zipf's law, so that a search meets rare words and words of every chunk
MARK = "The gondola of Zwartvoet leaves at noon."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 3000], help="sizes")
    parser.add_argument("--words", type=int, default=60, help="words in a file")
    parser.add_argument("--embedder", default="static", help="static, or what embed.model takes")
    parser.add_argument("--run", action="store_true", help="run everything, and then again")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--made", action="store_true", help="do not measure the first ingest: write its corpus in a fraction of the time")
    parser.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.models:
        save_models(options.models)
        return
    if options.make:
        make_corpus(options.make)
        return
    hardware = {"cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9), "machine": platform.machine()}
    made = {"versions": library_versions(), "hardware": hardware, "words": options.words, "embedder": options.embedder}
    rows: list[dict[str, Any]] = []
    for files in options.files:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(Path(folder), files, options):
                rows.append({"files": files, **row})
                print(rows[-1], flush=True)
                write_json(options.output, {**made, "rows": rows})


def measure(folder: Path, files: int, options: argparse.Namespace) -> Any:
    """One row for each step."""
    documents = folder / "documents"
    write_files(documents, files, options.words)
    make_project(folder, options.embedder, options.run)
    if options.made:
        subprocess.run([sys.executable, __file__, "--make", str(folder / "project")], check=True)
        yield command(folder, "sketches of all", "ingest")
    else:
        yield from killed(folder, "ingest", "SELECT count(*) FROM files", lambda found: len(found["read"]))
    yield command(folder, "unchanged", "ingest")
    yield from killed(folder, "index", "SELECT count(*) FROM vectors", lambda found: found["embedded"])
    yield command(folder, "unchanged", "index")
    row = command(folder, "a question", "search", "which bannakenner leaves the sullerkester")
    yield {name: value for name, value in row.items() if name != "found"}
    (documents / "000" / "000007.md").write_text(f"# Changed\n\n{MARK}\n", encoding="utf-8")
    steps = [command(folder, "one changed", *words) for words in (("ingest",), ("index",), ("search", "gondola of Zwartvoet"))]
    if not any(MARK in hit["text"] for hit in steps[-1].pop("found")):
        raise SystemExit("the changed document was not found")
    yield from steps
    yield {"step": "one changed, found", **{name: round(sum(step[name] for step in steps), 2) for name in ("seconds", "cpu_seconds")}}
    if options.run:
        yield command(folder, "first", "run")
        yield command(folder, "unchanged", "run")


def make_corpus(project: Path) -> None:
    """What ingest would make, but for tokens, which are taken to be three a word."""
    opened = Project(project)
    settings = opened.settings
    sources = find_sources([Path(name) for name in settings.documents])
    keys = ingesting._keys(settings, sources)
    with contextlib.closing(build.open_corpus(opened.workspace, create=True)) as corpus:
        for start in range(0, len(sources), 500):
            with corpus.batch():
                for source in sources[start : start + 500]:
                    document = Document(source.name, source.name, source.read_bytes().decode(), "text/markdown")
                    cut = chunk_document(document, lambda texts: [3 * len(text.split()) for text in texts], settings.prepare.chunk_size)
                    corpus.put_file(source.name, hash_file(source.path), keys[source.name], [(document, cut)])


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RAGTUNE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    code = "from ragtune.cli import main; main()"
    output = (folder / "output.json").open("wb")
    with output, (folder / "errors.txt").open("wb") as errors:
        call = [sys.executable, "-c", code, *words, "--json", "--project", str(folder / "project")]
        return subprocess.Popen(call, env=environment, stdout=output, stderr=errors)


def command(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """Run a command to its end: its seconds, its processor's, and the most memory it had."""
    began = time.monotonic()
    process = start(folder, *words)
    figures = ended(process, began)
    if process.returncode:
        raise SystemExit(f"{words} failed: {(folder / 'errors.txt').read_text(encoding='utf-8')}")
    found = json.loads((folder / "output.json").read_text(encoding="utf-8"))
    kept = {"found": found} if words[0] == "search" else {}
    counts = {key: found[key] for key in ("chunks", "vectors") if key in found}
    return {"step": f"{words[0]}, {name}", **figures, **counts, **kept}


def ended(process: subprocess.Popen[bytes], began: float) -> dict[str, Any]:
    _, status, usage = os.wait4(process.pid, 0)
    seconds, cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    process.returncode = os.waitstatus_to_exitcode(status)
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(usage.ru_maxrss * 1024 / 1e6)}


def killed(folder: Path, what: str, count: str, again: Callable[[Any], int]) -> Any:
    """Kill a command halfway, and run it again: what was done before, and after."""
    corpus = folder / "project" / ".ragtune" / "corpus.db"

    def done() -> int:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{corpus}?mode=ro", uri=True)) as db:
                return int(db.execute(count).fetchone()[0])
        except sqlite3.Error:
            return 0  # not made yet

    whole = sum(1 for _ in (folder / "documents").rglob("*.md")) if what == "ingest" else chunks(corpus)
    began = time.monotonic()
    process = start(folder, what)
    while done() < whole // 2 and Path(f"/proc/{process.pid}/exe").exists():  # a dead one stays until it is waited for, without this
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    figures = ended(process, began)
    before = done()
    yield {"step": f"{what}, until killed", **figures, "done": before, "of": whole}
    row = command(folder, "after the kill", what)
    yield {**row, "done": again(json.loads((folder / "output.json").read_text(encoding="utf-8"))), "of": whole - before}


def chunks(corpus: Path) -> int:
    with sqlite3.connect(corpus) as db:
        return int(db.execute("SELECT count(DISTINCT embedded) FROM chunks").fetchone()[0])


def make_project(folder: Path, embedder: str, run: bool) -> None:
    """A project over the documents; with models and questions where everything is to be run."""
    # By a child: the peak of a process counts from that of the one that starts it, and this one must not load torch.
    subprocess.run([sys.executable, __file__, "--models", str(folder)], check=True, capture_output=True)
    model = folder / "static" if embedder == "static" else Path(resolve(embedder))
    (folder / "project").mkdir()
    lines = [f"documents = ['{folder / 'documents'}']"]
    tables = [f"[embed]\nmodel = '{model}'"]
    if run:
        sources = write_sources(folder / "sources")
        sources.documents.rename(folder / "documents" / "asked")
        lines.append(f"questions = ['{sources.questions}']")
        tables += [f"[model]\nbase = '{folder / 'chat'}'\ndtype = 'float32'\ndevice = 'cpu'", "[train]\nrank = 2\nepochs = 1"]
        tables += ["[generate]\nmax_new_tokens = 6", "[evaluate]\ncontrol_questions = 4"]
    (folder / "project" / "ragtune.toml").write_text("\n".join([*lines, *tables]) + "\n", encoding="utf-8")


def save_models(folder: Path) -> None:
    """A sentence-transformers model that adds up random vectors of tokens, and a tiny chat model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    from tiny_models import save_chat_model

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(Path(resolve("all-minilm-l6-v2")) / "tokenizer.json"))
    tokenizer.no_truncation()
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=384)], device="cpu").save(str(folder / "static"))
    save_chat_model(folder / "chat", positions=4096)


def write_files(folder: Path, files: int, words: int) -> None:
    draw = random.Random(0)
    text: list[str] = []
    for number in range(files):
        kind = number % 20
        if kind == 5:
            pass  # an exact copy of the one before
        elif kind in (9, 15) and text:
            text = [*text[:-1], draw.choice(VOCABULARY)]  # nearly the same
        else:
            text = draw.choices(VOCABULARY, RANKS, k=words)
        path = folder / f"{number // 1000:03}" / f"{number:06}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(text[at : at + 12]).capitalize() + "." for at in range(0, len(text), 12)]
        path.write_text("# " + lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
