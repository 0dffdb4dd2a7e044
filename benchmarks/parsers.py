"""PDF and HTML parsers on the files of ``parser_samples``: how many of the key phrases in the tests' table does each give, and how fast?

    pip install pypdf pdfplumber pdfminer.six html2text markitdown
    RAGTUNE_DATA=/path/to/data python benchmarks/parsers.py

The phrases (``tests/prepare/test_parser_samples.py``) were picked by hand from what ragtune's readers give, looking at the files: so they
favour those in what they hold. Marks of Markdown and white space are set aside on both sides, so not in how it is written. What is
installed is compared, ragtune's readers with the cleaning rules as they are by default, in the same process as the others. Writes
``benchmarks/results/parsers.json``.
"""

from __future__ import annotations

import importlib
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragtune.workspace import library_versions, write_json

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "prepare"))
_MARKS = re.compile(r"[\s|#*_`>\\-]+")


def squeezed(text: str) -> str:
    return _MARKS.sub("", text)


def ours(path: Path) -> str:
    from ragtune.prepare.read import read_source
    from ragtune.prepare.sources import Source

    return "\n".join(document.text for document in read_source(Source(path, path.name)))


def pypdf(path: Path) -> str:
    module = importlib.import_module("pypdf")
    return "\n".join(page.extract_text() for page in module.PdfReader(path).pages)


def pdfplumber(path: Path) -> str:
    with importlib.import_module("pdfplumber").open(path) as pdf:
        return "\n".join(page.extract_text() or "" for page in pdf.pages)


def pdfminer(path: Path) -> str:
    return str(importlib.import_module("pdfminer.high_level").extract_text(path))


def trafilatura(path: Path) -> str:
    return importlib.import_module("trafilatura").extract(path.read_bytes(), output_format="markdown", include_tables=True) or ""


def markdownify(path: Path) -> str:
    return str(importlib.import_module("markdownify").markdownify(path.read_bytes().decode(errors="replace")))


def html2text(path: Path) -> str:
    return str(importlib.import_module("html2text").html2text(path.read_bytes().decode(errors="replace")))


def markitdown(path: Path) -> str:
    return str(importlib.import_module("markitdown").MarkItDown().convert(path).text_content)


PARSERS: dict[str, dict[str, Callable[[Path], str]]] = {
    ".pdf": {"ragtune (liteparse)": ours, "pypdf": pypdf, "pdfplumber": pdfplumber, "pdfminer.six": pdfminer, "markitdown": markitdown},
    ".html": {
        "ragtune": ours,
        "trafilatura": trafilatura,
        "markdownify": markdownify,
        "html2text": html2text,
        "markitdown": markitdown,
    },
}


def compare(parser: Callable[[Path], str], files: dict[Path, list[str]]) -> dict[str, Any]:
    found, failed, seconds = 0, [], []
    for path, phrases in files.items():
        began = time.perf_counter()
        try:
            text = squeezed(parser(path))
        except ModuleNotFoundError:
            return {}
        except Exception as error:
            failed.append(f"{path.name}: {type(error).__name__}")
            continue
        seconds.append(time.perf_counter() - began)
        found += sum(squeezed(phrase) in text for phrase in phrases)
    return {"phrases": found, "of": sum(map(len, files.values())), "failed": failed, "median_seconds": statistics.median(seconds)}


def main() -> None:
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds parser_samples")
        return
    table = importlib.import_module("test_parser_samples")

    report: dict[str, Any] = {"versions": library_versions(), "formats": {}}
    for suffix, parsers in PARSERS.items():
        files = {
            table.FOLDER / name: phrases
            for name, phrases in table.EXPECTED.items()
            if isinstance(phrases, list)
            and (table.FOLDER / name).is_file()
            and name.endswith((suffix, ".htm") if suffix == ".html" else suffix)
        }
        print(f"\n{suffix}: {len(files)} files\n| parser | phrases | failed | median ms |\n|---|---|---|---|")
        for name, parser in parsers.items():
            result = compare(parser, files)
            report["formats"].setdefault(suffix, {})[name] = result
            if result:
                row = f"{result['phrases']} of {result['of']} | {len(result['failed'])} | {1000 * result['median_seconds']:.0f}"
                print(f"| {name} | {row} |", flush=True)
    write_json(Path(__file__).parent / "results/parsers.json", report)


if __name__ == "__main__":
    main()
