"""Does an answer quote, are its quotes real, and do they hold the evidence? Quotes were checked against the passages before."""

from __future__ import annotations

from collections.abc import Sequence

from ragtune.types import Evidence, Prediction, Quote


def overlaps(quote: Quote, evidence: Sequence[Evidence]) -> bool:
    """Whether a quote shares a character of its document with a span of evidence."""
    if quote.document is None or quote.start is None or quote.end is None:
        return False
    return any(quote.document == gold.document and quote.start < gold.end and gold.start < quote.end for gold in evidence)


def quote_metrics(prediction: Prediction, evidence: Sequence[Evidence]) -> dict[str, tuple[float, float]]:
    """Each metric's value and weight for one answer.

    ``quotes``: an answer (not an abstention) that quotes. ``quotes_valid``: the share of its quotes that are spans of a shown passage,
    weighted by their number, so that the mean is over quotes. ``quotes_gold``: a quoting answer of which a quote overlaps the
    evidence. ``cites_gold``: an answer, quoting or not, of which that does, or the sentence that was found for it. Nothing for
    closed-book, where there is nothing to quote.
    """
    if prediction.context == "closed-book":
        return {}
    written = [quote for quote in prediction.quotes if not quote.found]
    metrics = {} if prediction.abstained else {"quotes": (float(bool(written)), 1.0)}
    if written:
        metrics["quotes_valid"] = (sum(quote.valid for quote in written) / len(written), float(len(written)))
    if evidence and not prediction.abstained:
        metrics["cites_gold"] = (float(any(overlaps(quote, evidence) for quote in prediction.quotes)), 1.0)
        if written:
            metrics["quotes_gold"] = (float(any(overlaps(quote, evidence) for quote in written)), 1.0)
    return metrics
