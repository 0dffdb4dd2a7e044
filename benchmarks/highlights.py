"""How often is the evidence among the first highlights? On a dataset's training and validation questions, as they are served.

    python benchmarks/highlights.py demo/.ragtune/datasets/NAME

Prints, and writes to ``benchmarks/results/highlights.json``, for each split the share of the questions with evidence for which the first,
or one of the first two, three and four sentences overlaps it; what retrieval did not find counts as missed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import read_dataset
from ragtune.evaluate.quoting import overlaps
from ragtune.highlights import find_highlights
from ragtune.quotes import check_quote
from ragtune.types import Example, Passage
from ragtune.workspace import library_versions, read_manifest, write_json

MOST = 4
RESULTS = Path(__file__).parent / "results" / "highlights.json"


def first_hit(example: Example, shown: Sequence[Passage]) -> int:
    """The rank from 0 of the first highlight that overlaps the evidence in a shown passage; ``MOST`` where none of the first does."""
    for rank, highlight in enumerate(find_highlights(example.question, shown, MOST)):
        if any(overlaps(check_quote(highlight.text, [passage]), example.evidence) for passage in shown):
            return rank
    return MOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="*", help="folders that ragtune dataset made")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not options.datasets:
        print("skipped: it has to be given a dataset: python benchmarks/highlights.py demo/.ragtune/datasets/NAME (make demo makes one)")
        return
    rows = [row for folder in options.datasets for row in measure(folder)]
    write_json(options.output, {"versions": library_versions(), "rows": rows})


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """One row for each split of a dataset."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise SystemExit(f"{folder} holds no finished dataset")
    data, k = read_dataset(folder), int(manifest.settings["retrieve"]["k"])
    for split, examples in (("train", data.train), ("validation", data.validation)):
        known = [example for example in examples if example.evidence]
        hits = [first_hit(e, [data.passages[id_] for id_ in evaluation_context(e, "retrieved", k).passages or ()]) for e in known]
        shares = [round(sum(hit < count for hit in hits) / len(hits), 3) for count in range(1, MOST + 1)] if hits else []
        print(f"{manifest.name} {split}, {len(known)} questions, k = {k}: first {'  '.join(f'{share:.3f}' for share in shares) or '-'}")
        yield {"dataset": manifest.name, "split": split, "questions": len(known), "k": k, "within_first": shares}


if __name__ == "__main__":
    main()
