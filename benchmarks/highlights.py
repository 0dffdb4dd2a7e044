"""How often is the evidence among the first highlights? On a dataset's training and validation questions, as they are served.

    python benchmarks/highlights.py demo/.ragtune/datasets/NAME

Prints, for each split, the share of the questions with evidence for which the first, or one of the first two, three and four sentences
overlaps it; what retrieval did not find counts as missed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import read_dataset
from ragtune.evaluate.quoting import overlaps
from ragtune.highlights import find_highlights
from ragtune.quotes import check_quote
from ragtune.types import Example, Passage
from ragtune.workspace import read_manifest

MOST = 4


def first_hit(example: Example, shown: Sequence[Passage]) -> int:
    """The rank from 0 of the first highlight that overlaps the evidence in a shown passage; ``MOST`` where none of the first does."""
    for rank, highlight in enumerate(find_highlights(example.question, shown, MOST)):
        if any(overlaps(check_quote(highlight.text, [passage]), example.evidence) for passage in shown):
            return rank
    return MOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="*", help="folders that ragtune dataset made")
    folders = parser.parse_args().datasets
    if not folders:
        print("skipped: give the folder of a dataset")
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest is None:
            raise SystemExit(f"{folder} holds no finished dataset")
        data, k = read_dataset(folder), int(manifest.settings["retrieve"]["k"])
        for split, examples in (("train", data.train), ("validation", data.validation)):
            known = [example for example in examples if example.evidence]
            hits = [first_hit(e, [data.passages[id_] for id_ in evaluation_context(e, "retrieved", k).passages or ()]) for e in known]
            shares = "  ".join(f"{sum(hit < count for hit in hits) / len(hits):.3f}" for count in range(1, MOST + 1)) if hits else "-"
            print(f"{manifest.name} {split}, {len(known)} questions, k = {k}: first {shares}")


if __name__ == "__main__":
    main()
