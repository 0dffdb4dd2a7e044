"""The committed build: whole, small at first, and without an address of another place."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

BUILT = Path(__file__).parents[2] / "src/ragtune/serve/web"
INDEX = (BUILT / "index.html").read_text("utf-8")


def test_the_first_load_is_small_and_there() -> None:
    files = re.findall(r'(?:src|href)="\./([^"]+)"', INDEX)
    assert {Path(name).suffix for name in files} == {".js", ".css", ".svg"}
    assert sum(len(gzip.compress((BUILT / name).read_bytes(), mtime=0)) for name in files) < 100_000


def test_styles_and_the_page_name_no_other_place() -> None:
    for path in [BUILT / "index.html", *BUILT.rglob("*.css")]:
        assert not re.search(r"https?://", path.read_text("utf-8")), path


def test_fonts_are_woff2_alone_and_licences_are_with_them() -> None:
    suffixes = {path.suffix for path in BUILT.rglob("*") if path.is_file()}
    assert suffixes == {".html", ".js", ".css", ".svg", ".woff2", ".md"}
    licences = (BUILT / "licenses.md").read_text("utf-8")
    assert all(name in licences for name in ("preact", "katex", "mermaid", "dompurify", "uplot"))


def test_the_build_fits_in_the_wheel() -> None:
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < 5_000_000
