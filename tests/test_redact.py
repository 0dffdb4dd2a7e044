from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ragtune.redact import Forgotten
from ragtune.sqlite import forget_pages, use_wal

KNOWN = "The keeper of the old gate is Zephyra Brandt, who came from the north."
OTHER = "The keeper of the old gate came from the north. Brandt is a town."


def test_what_others_say_as_well_is_left_and_names_go() -> None:
    forgotten = Forgotten([KNOWN], [OTHER])
    assert forgotten.blank("Ask Zephyra BRANDT in Brandt, the keeper of the old gate.") == (
        "Ask [purged] in Brandt, the keeper of the old gate.",
        1,
    )
    assert forgotten.blank("Ask Zephyra at the old gate.", short=False) == ("Ask Zephyra at the old gate.", 0)
    assert forgotten.blank("old gate is Zephyra Brandt", short=False) == ("[purged]", 1)


def test_references_between_files_are_left(tmp_path: Path) -> None:
    path = tmp_path / "passages.jsonl"
    path.write_text(
        '{"id": "zephyra-1", "document": "zephyra.md", "text": "Zephyra\\nsleeps", "oracles": ["zephyra-1"]}\n', encoding="utf-8"
    )
    assert Forgotten([KNOWN], [OTHER]).blank_file(path, write=True) == 1
    assert path.read_text() == '{"id": "zephyra-1", "document": "zephyra.md", "text": "[purged]\\nsleeps", "oracles": ["zephyra-1"]}\n'


def test_a_text_of_few_words_goes_as_a_whole() -> None:
    assert Forgotten(["We do."], ["No."]).blank("He said: we do!") == ("He said: [purged]!", 1)


def test_nothing_of_a_deleted_row_is_left_in_a_database_or_its_log(tmp_path: Path) -> None:
    path = tmp_path / "any.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        use_wal(db)
        db.execute("PRAGMA secure_delete = OFF")  # which some systems have on, and then freed pages are empty anyway
        db.execute("CREATE TABLE texts (text TEXT)")
        db.executemany("INSERT INTO texts VALUES (?)", [(f"{KNOWN} {number}",) for number in range(200)])
        db.execute("DELETE FROM texts")
        db.execute("PRAGMA wal_checkpoint")
        left = [each for each in tmp_path.iterdir() if b"Zephyra" in each.read_bytes()]
        assert len(left) == 2, "the test proves nothing otherwise"
        assert forget_pages(db)
        assert not [each for each in tmp_path.iterdir() if b"Zephyra" in each.read_bytes()]


def test_the_list_of_a_page_that_needs_no_script_is_blanked_as_its_data_is(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    data = '<script type="application/json" id="data">{"raw":"Zephyra Brandt"}</script>'
    path.write_text(f"<p>Zephyra</p><noscript><li>Zephyra Brandt &amp; co</li></noscript>{data}", encoding="utf-8")
    assert Forgotten([KNOWN], [OTHER]).blank_file(path, write=True) == 2
    assert path.read_text().startswith("<p>Zephyra</p><noscript><li>[purged] &amp; co</li></noscript><script")
    assert '"[purged]"}' in path.read_text()
