"""What does leaving the words of most chunks out of a lexical search change, and what does it save?

    RAGTUNE_DATA=/path/to/data python benchmarks/lexical_common.py

Chunks as in ``lexical.py``, searched by the corpus's own search with and without such words, in turn. Writes
``benchmarks/results/lexical_common.json``: of each collection's questions how many found the same rows and the same first ten in the same
order, the largest difference of a rank's score, and the median of processor time in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

from lexical import replicate
from ragtune.corpus import fulltext
from ragtune.workspace import library_versions, write_json
from retrieval_fusion import cranfield, dbpedia

DEPTH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=70, help="of a chunk")
    parser.add_argument("--questions", type=int, default=20, help="of each collection")
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds cranfield and beir_dbpedia")
        return
    data = Path(os.environ["RAGTUNE_DATA"])
    collections = {"cranfield": cranfield(data, 1000), "dbpedia": dbpedia(data, 1000)}
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE chunks (row INTEGER PRIMARY KEY)")
    db.execute("CREATE VIRTUAL TABLE fulltext USING fts5 (prefix, text, tokenize = 'porter unicode61 remove_diacritics 2')")
    texts = replicate(list(collections.values()), arguments.chunks, arguments.words)
    db.executemany("INSERT INTO chunks VALUES (?)", [(row,) for row in range(1, len(texts) + 1)])
    db.executemany("INSERT INTO fulltext (rowid, prefix, text) VALUES (?, '', ?)", enumerate(texts, start=1))
    found = {name: compare(db, [query.text for query in each.queries[: arguments.questions]]) for name, each in collections.items()}
    print(json.dumps(found, indent=1))
    report = {"settings": vars(arguments), "versions": library_versions() | {"sqlite": sqlite3.sqlite_version}, "collections": found}
    write_json(Path(__file__).parent / "results" / "lexical_common.json", report)


def compare(db: sqlite3.Connection, questions: list[str]) -> dict[str, Any]:
    times: dict[str, list[float]] = {"all_ms": [], "rarer_ms": []}
    rows = first = 0
    largest = 0.0
    for question in questions:
        found = []
        for name, most in (("all_ms", 10**9), ("rarer_ms", 0)):
            fulltext._MANY = most
            began = time.process_time()
            found.append(fulltext.search(db, question, DEPTH))
            times[name].append(1000 * (time.process_time() - began))
        every, rarer = found
        rows += {row for row, _ in every} == {row for row, _ in rarer}
        first += [row for row, _ in every[:10]] == [row for row, _ in rarer[:10]]
        largest = max([largest, *(abs(one - other) for (_, one), (_, other) in zip(every, rarer, strict=True))])
    medians = {name: round(statistics.median(values), 1) for name, values in times.items()}
    return {"questions": len(questions), "same_rows": rows, "same_first_ten": first, "largest_difference": largest, **medians}


if __name__ == "__main__":
    main()
