"""A realistic, seeded evaluation without a model: documents, passages, test questions and what three arms might answer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ragtune.prompts import parse_answer
from ragtune.quotes import check_quote
from ragtune.types import Arm, Context, Evidence, Example, Passage, Prediction, Span

PLACES = ("Arvel", "Brenna", "Caldmoor", "Dunsel", "Estrith", "Fennick", "Gorsedale", "Hallow", "Inverlade", "Jorrow")
THINGS = ("hut", "line", "dairy", "quarry road", "weather mast", "signal house")
FACTS = (
    ("opening year", "was opened in {v} by the district engineer, after two seasons of delay"),
    ("height", "stands {v} metres above the valley floor at Kestle, measured at its upper stop"),
    ("keeper", "has been kept since the fire by {v}, who also minds the rain gauge"),
    ("winter rule", "is closed in winter whenever the wind exceeds {v} for ten minutes"),
)
FILLER = (
    "The path is marked with white posts every fifty paces, and hikers are asked to close the gates behind them.",
    "Supplies come up on Tuesdays and Fridays; nothing is carried on the first Sunday of the month.",
    "Members voted twice on whether to widen the platform and both times decided to wait for drier ground.",
    "A notice by the door lists the telephone numbers of the valley office and of the doctor in Threll.",
)
KINDS = ("fact", "numeric", "paraphrase", "table")


@dataclass(frozen=True)
class Evaluation:
    """What ``score`` and ``render_html`` take."""

    predictions: list[Prediction]
    examples: list[Example]
    passages: dict[str, Passage]
    retrieved: dict[str, list[tuple[Span, ...]]]


def make_evaluation(questions: int = 160, documents: int = 40, *, seed: int = 7, skill: Mapping[str, float] | None = None) -> Evaluation:
    """Predictions of three arms in all contexts; ``skill`` is each arm's chance of a right answer when the evidence is shown."""
    rng = random.Random(seed)
    skill = skill or {"base": 0.30, "base-fewshot": 0.36, "tuned": 0.66}
    passages, facts = _documents(rng, documents)
    examples: list[Example] = []
    retrieved: dict[str, list[tuple[Span, ...]]] = {}
    predictions: list[Prediction] = []
    ids = list(passages)
    for number in range(questions):
        passage_id, subject, label, value, sentence = facts[number % len(facts)]
        gold = passages[passage_id]
        start = gold.spans[0].start + gold.text.index(sentence)
        answerable = number % 8 != 0
        shown = rng.sample([i for i in ids if i != passage_id], 5)
        if rng.random() < 0.9:
            shown[min(4, int(rng.expovariate(1.2)))] = passage_id
        document = int(gold.document.split("-")[1].split(".")[0])
        example = Example(
            id=f"q{number:03d}",
            question=f"What is the {label} of the {subject}?" if answerable else f"Who painted the sign of the {subject}?",
            answers=(value,) if answerable else (),
            completion="",
            oracles=(passage_id,),
            candidates=(),
            evidence=(Evidence(gold.document, start, start + len(sentence), sentence),) if answerable else (),
            split="test",
            stratum="new_documents" if document % 3 == 0 else "new_questions",
            group=gold.document,
            kind=KINDS[number % 4] if answerable else "unanswerable",
        )
        examples.append(example)
        retrieved[example.id] = [passages[i].spans for i in shown]
        contexts: dict[Context, list[str]] = {
            "closed-book": [],
            "oracle": [passage_id],
            "oracle+distractors": [passage_id, *[i for i in shown if i != passage_id]][:5],
            "retrieved": shown,
        }
        for arm, chance in skill.items():
            for context in contexts:
                if context in ("closed-book", "oracle") and number >= 100:
                    continue
                shown_here = [passages[i] for i in contexts[context]]
                predictions.append(_answer(rng, example, arm, context, shown_here, chance, value, sentence))  # type: ignore[arg-type]
            if answerable and number < 100:
                apart = random.Random(f"{number} {arm}")  # so that the other answers are what they were without these
                without = [passages[i] for i in shown if i != passage_id]
                predictions.append(_answer(apart, example, arm, "distractors", without, chance, value, sentence))  # type: ignore[arg-type]
    return Evaluation(predictions, examples, passages, retrieved)


def _documents(rng: random.Random, documents: int) -> tuple[dict[str, Passage], list[tuple[str, str, str, str, str]]]:
    passages: dict[str, Passage] = {}
    facts: list[tuple[str, str, str, str, str]] = []
    for number in range(documents):
        subject = f"{PLACES[number % 10]} {THINGS[number // 10 % 6]}"
        source, at = f"lines/doc-{number}.md", 120
        for part, (label, form) in enumerate(FACTS):
            value = rng.choice(
                (str(rng.randint(1890, 1999)), f"{rng.randint(12, 90)} km/h", f"{rng.choice(PLACES)} Thule", "Agathe Brandlow")
            )
            sentence = f"The {subject} {form.format(v=value)}."
            text = " ".join([rng.choice(FILLER), sentence, *rng.sample(FILLER, 3)])
            key = f"p{number}-{part}"
            passages[key] = Passage(key, source, subject, f"{subject} › {label}", text, (Span(source, at, at + len(text)),), (key,))
            facts.append((key, subject, label, value, sentence))
            at += len(text) + 2
    rng.shuffle(facts)
    return passages, facts


def _answer(
    rng: random.Random, example: Example, arm: Arm, context: Context, shown: list[Passage], chance: float, value: str, sentence: str
) -> Prediction:
    held = bool(example.answers) and any(p.id in example.oracles for p in shown)
    closed = context == "closed-book"
    right = rng.random() < (0.04 if closed else chance if held else 0.05)
    other = rng.choice(shown).text.split(". ")[0] if shown else ""
    wrong = rng.choice(("1931", "Casimir Thule", "the valley office", "about fifty paces from the gate"))
    if arm == "tuned" and not closed:
        quote = sentence if right and held else other
        raw = f'"{quote}"\nAnswer: {value if right else wrong}'
        if not held and rng.random() < 0.6:
            raw = "Answer: not in the passages"
    elif right:
        raw = f"Answer: {value}" if arm == "base-fewshot" else f"The passages say that it is {value}, as far as I can tell."
    else:
        raw = (
            f'"{other[:60]} and so on"\nAnswer: {wrong}'
            if rng.random() < 0.4 and other
            else f"It is {wrong}, which the text mentions. {other}"
        )
    parsed = parse_answer(raw)
    length = 40 + sum(len(p.text) // 4 for p in shown)
    return Prediction(
        id=example.id, question=example.question, arm=arm, model="smollm2-135m-instruct" + ("+adapter" if arm == "tuned" else ""), seed=0,
        context=context, group=example.group, stratum=example.stratum, kind=example.kind, raw=raw, answer=parsed.answer,
        references=example.answers, passages=tuple(p.id for p in shown), quotes=tuple(check_quote(q, shown) for q in parsed.quotes),
        abstained=parsed.abstained, answerable_in_context=held,
        abstain_logodds=rng.gauss((-2.0 if held else 0.5) * (1.5 if arm == "tuned" else 0.3), 1.5),
        prompt_tokens=length, completion_tokens=len(raw) // 4, seconds=0.002 * length + 0.01 * len(raw) / 4,
    )  # fmt: skip
