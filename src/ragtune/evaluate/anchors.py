"""Is a judge worth listening to? Invented answers whose order is beyond doubt, which it grades before any other.

Nothing in them is in any model's training data, so that the references and passages must be read.
"""

from __future__ import annotations

from collections.abc import Mapping

from ragtune.evaluate.judge import Case, Grade

SOUND = 0.8
"""Share of the orders below which a judge's grades say nothing; one that grades by chance or all alike stays below it."""

_MILL = (
    "Quarnby › Mill\nThe mill of Quarnby was built by Orla Fenwick in 1874 on the east bank of the Tirl. Its wheel was iron from the start "
    "and turned for ninety years, until the flood of 1964 took the weir away."
)
_FERRY = "Ostrel › Ferry\nThe ferry of Ostrel crosses at seven and at noon. It carries twelve passengers, and no carts since 1931."
_BUILT = ("Who built the mill of Quarnby, and when?", ("Orla Fenwick, in 1874", "Orla Fenwick in 1874"), (_MILL, _FERRY))
_CARRIES = ("How many passengers does the ferry of Ostrel carry?", ("twelve", "12"), (_FERRY, _MILL))
_PAINTED = ("Who painted the sign of the ferry of Ostrel?", (), (_FERRY, _MILL))

ANCHORS: Mapping[str, Case] = {
    "perfect": Case(*_BUILT, "Orla Fenwick, in 1874", ("The mill of Quarnby was built by Orla Fenwick in 1874",)),
    "verbose": Case(
        *_BUILT,
        "According to what the passages tell us of it, the mill of Quarnby was built by Orla Fenwick, and the year in which she built it "
        "was 1874",
    ),
    "partial": Case(*_BUILT, "Orla Fenwick, in 1901"),
    "wrong": Case(*_BUILT, "Casimir Thule, in 1931"),
    "unfaithful": Case(*_BUILT, "Orla Fenwick, in 1874, for the bishop of Harrow, who paid her nine hundred pounds in gold"),
    "short": Case(*_CARRIES, "12"),
    "off the point": Case(*_CARRIES, "The wheel of the mill was iron from the start, and the flood of 1964 took the weir away"),
    "abstaining": Case(*_PAINTED, "not in the passages"),
    "inventing": Case(*_PAINTED, "Orla Fenwick painted it in 1931"),
    "abstaining wrongly": Case(*_CARRIES, "not in the passages"),
}
ORDERS = (
    ("perfect", "wrong", "correctness"),
    ("perfect", "partial", "correctness"),
    ("verbose", "wrong", "correctness"),
    ("verbose", "partial", "correctness"),
    ("short", "off the point", "correctness"),
    ("short", "abstaining wrongly", "correctness"),
    ("abstaining", "inventing", "correctness"),
    ("perfect", "unfaithful", "faithfulness"),
    ("abstaining", "inventing", "faithfulness"),
    ("short", "off the point", "relevance"),
)
"""The better one, the worse one, and on which scale."""


def orders_kept(grades: Mapping[str, Grade]) -> int:
    """Of ``ORDERS``, how many the judge's grades keep: strictly higher for the better one; a failure keeps none."""
    return sum(
        grades[better].scores[scale] > grades[worse].scores[scale]
        for better, worse, scale in ORDERS
        if grades[better].failed is None and grades[worse].failed is None
    )
