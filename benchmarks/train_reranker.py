"""A cross-encoder for re-ranking, trained on SQuADShifts new_wiki in some ten minutes of two cores.

    RAGTUNE_DATA=/path/to/data python benchmarks/train_reranker.py

writes a sentence-transformers CrossEncoder to ``build/reranker``, which ``retrieve.reranker`` can name, and what it learnt to
``benchmarks/results/train_reranker.json``. It starts from all-minilm-l6-v2's weights. Each step shows it questions with their paragraph and
hard negatives, drawn from what hybrid search ranks highest, and asks which it is (softmax over the list); 12 articles are kept out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.models.pull import resolve
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.types import Hit
from ragtune.workspace import library_versions, write_json
from retrieval_fusion import DEPTH, CachedQueries, Query, index, measure, squadshifts

HELD_OUT_ARTICLES, HELD_OUT_QUESTIONS = 12, 60
POOL = 20
"""Ranks that negatives are drawn from."""


def training_lists(queries: Sequence[Query], rankings: Sequence[Sequence[Hit]], size: int, seed: int) -> Iterator[list[tuple[str, str]]]:
    """For each question its pairs with ``size`` paragraphs, its own first."""
    generator = random.Random(seed)
    for query, hits in zip(queries, rankings, strict=True):
        own = [hit.chunk.text for hit in hits if hit.chunk.document in query.relevant]
        others = [hit.chunk.text for hit in hits[:POOL] if hit.chunk.document not in query.relevant]
        if own:
            yield [(query.text, text) for text in (own[0], *generator.sample(others, size - 1))]


def train(model: CrossEncoder, lists: Sequence[list[tuple[str, str]]], batch: int, rate: float, tokens: int) -> list[float]:
    """One pass of softmax cross-entropy over each list; the loss of each step, in nats."""
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=rate, weight_decay=0.01)
    steps = math.ceil(len(lists) / batch)
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, (steps - step) / (steps - warmup + 1)))
    model.model.train()
    losses = []
    for start in range(0, len(lists), batch):
        some = lists[start : start + batch]
        pairs = [pair for each in some for pair in each]
        asked, shown = [question for question, _ in pairs], [text for _, text in pairs]
        encoded = model.tokenizer(asked, shown, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            scores = model.model(**encoded).logits
        loss = torch.nn.functional.cross_entropy(scores.float().view(len(some), -1), torch.zeros(len(some), dtype=torch.long))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 10 == 0:
            print(f"step {len(losses)} of {steps}, loss {sum(losses[-10:]) / 10:.3f}", flush=True)
    model.model.eval()
    return losses


def held_out(model: CrossEncoder, queries: Sequence[Query], rankings: Sequence[Sequence[Hit]]) -> dict[str, dict[str, float]]:
    """What hybrid search ranks, and the same with its first ranks re-ordered, on questions of articles that were not trained on."""
    reordered = []
    for query, hits in zip(queries, rankings, strict=True):
        scores = model.predict([(query.text, hit.chunk.text) for hit in hits[:POOL]], show_progress_bar=False)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        reordered.append([Hit(hits[i].chunk, float(scores[i]), rank) for rank, i in enumerate(order, start=1)])
    return {
        name: {measured: sum(values) / len(values) for measured, values in measure(queries, found).items()}
        for name, found in (("hybrid", rankings), ("re-ranked", reordered))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2400)
    parser.add_argument("--passages", type=int, default=6, help="paragraphs shown with each question")
    parser.add_argument("--batch", type=int, default=8, help="questions a step")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--tokens", type=int, default=160, help="of question and paragraph together; the rest is cut")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ragtune-train-reranker", help="keeps vectors")
    parser.add_argument("--output", type=Path, default=Path("build/reranker"))
    arguments = parser.parse_args()
    if "RAGTUNE_DATA" not in os.environ:
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki")
        return
    started = time.monotonic()
    torch.manual_seed(0)
    collection = squadshifts(Path(os.environ["RAGTUNE_DATA"]), 100_000)
    articles = sorted({query.group for query in collection.queries}, key=int)
    unseen = set(random.Random(0).sample(articles, HELD_OUT_ARTICLES))
    trained = [query for query in collection.queries if query.group not in unseen][: arguments.questions]
    watched = [query for query in collection.queries if query.group in unseen][:HELD_OUT_QUESTIONS]
    embedder = CachedQueries(SentenceTransformersEmbedder(resolve("all-minilm-l6-v2")))
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus, store = index(collection, embedder, arguments.work / "squadshifts.db")
    retriever = HybridRetriever(corpus, embedder, store, candidates=DEPTH)
    rankings = retriever.retrieve([query.text for query in (*trained, *watched)], DEPTH)
    corpus.close()
    model = CrossEncoder(str(resolve("all-minilm-l6-v2")), num_labels=1, max_length=256, device="cpu", local_files_only=True)
    lists = list(training_lists(trained, rankings[: len(trained)], arguments.passages, 0))
    print(f"{len(lists)} lists after {time.monotonic() - started:.0f} s", flush=True)
    began = time.monotonic()
    losses = train(model, lists, arguments.batch, arguments.rate, arguments.tokens)
    seconds = time.monotonic() - began
    model.save_pretrained(str(arguments.output))
    report: dict[str, Any] = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()},
        "versions": library_versions(),
        "lists": len(lists),
        "seconds": round(seconds),
        "loss": {"first 20 steps": sum(losses[:20]) / 20, "last 20 steps": sum(losses[-20:]) / 20},
        "held_out": {"questions": len(watched), "articles": HELD_OUT_ARTICLES, **held_out(model, watched, rankings[len(trained) :])},
    }
    write_json(Path(__file__).parent / "results/train_reranker.json", report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
