"""view.html: training examples token by token, with what a dataset teaches in figures. One file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import groupby

from ragtune.dataset.statistics import Statistics
from ragtune.dataset.tokens import Piece, SeenBranch, SeenGroup
from ragtune.page import framed, render_page, safe, section
from ragtune.types import ContextGroup, Example

_LEGEND = (
    '<p class="key" aria-label="Legend"><span class="tokens"><i class="trained">learnt: has a loss</i></span> '
    '<span class="tokens"><i>read: no loss</i></span> <span class="tokens"><i class="special">&lt;|special|&gt;</i></span> '
    '<span class="tokens"><i class="quoted">quoted by an answer</i></span> <span class="quiet">Each shaded stretch is a token; its id '
    "shows when it is pointed at.</span></p>"
)


@dataclass(frozen=True, slots=True)
class ViewedGroup:
    """A context with its questions: as tokens, as passages, and the examples that they are made of, by id."""

    seen: SeenGroup
    group: ContextGroup
    examples: Mapping[str, Example]


def render_view(statistics: Statistics, groups: Sequence[ViewedGroup], created: str, *, split: str, total: int, model: str) -> str:
    """The page.

    Args:
        statistics: of the dataset.
        groups: to show, the first one open.
        created: when, as it is to be shown.
        split: that they are of.
        total: contexts that the split has.
        model: whose tokenizer and chat template these are.
    """
    shown = f"{len(groups)} of {total} {split} contexts, as {model} reads them. Loss is on what is learnt alone; all else is only read."
    examples = _LEGEND + "".join(_group(each, first=number == 0) for number, each in enumerate(groups))
    about = f"Training contexts of epoch {statistics.epoch}; each epoch draws its own."
    hero = f"<h1>{safe(statistics.dataset)}, as the model sees it</h1><p class='facts'>{_facts(statistics)}</p>"
    main = f'<section class="hero alone">{hero}</section>' + section("examples", "Examples", safe(shown), examples)
    main += section("figures", "What it teaches", about, _figures(statistics))
    style = files("ragtune.dataset").joinpath("page.css").read_text(encoding="utf-8").strip()
    return render_page(statistics.dataset, created, main, style=style)


def _facts(statistics: Statistics) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in statistics.questions.items())
    present = statistics.p_realised
    realised = "" if present is None else f"; {present:.1%} of the answerable see their evidence (P = {statistics.p:g})"
    return safe(f"{counts} questions{realised}; {statistics.contexts} training contexts")


def _figures(statistics: Statistics) -> str:
    tables = [
        _counts("What is learnt", "answer", "questions", statistics.answers),
        _counts("Ranks of the distractors", "rank", "passages", statistics.distractor_ranks),
        _counts("Questions of a context", "questions", "contexts", statistics.questions_per_context),
        _counts("Passages of a context", "passages", "contexts", statistics.passages_per_context),
        _counts("Passages that hold a question's evidence", "passages", "questions", statistics.oracles_per_question),
        *(_counts(f"Kinds of {split} questions", "kind", "questions", kinds) for split, kinds in statistics.kinds.items()),
    ]
    if statistics.tokens:
        tables.append(_lengths(statistics))
    note = ""
    if statistics.false_negatives is not None:
        note = (
            f"<p>{statistics.false_negatives:.1%} of the {statistics.without_evidence} answerable questions without their evidence had a "
            "passage in their context in which an answer's words stand: a false negative, removed unless train.false_negatives keeps "
            "it.</p>"
        )
    return f'{note}<div class="figures">{"".join(tables)}</div>'


def _counts(title: str, what: str, unit: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    most = max(counts.values())
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td class="number">{count:,}</td>'
        f'<td class="bars" aria-hidden="true"><span class="bar" style="width:{100 * count / most:.1f}%"></span></td></tr>'
        for name, count in counts.items()
    )
    head = f'<thead><tr><th scope="col">{what}</th><th scope="col" class="number">{unit}</th><td></td></tr></thead>'
    return f"<div><h3>{safe(title)}</h3>{framed(title, f'{head}<tbody>{rows}</tbody>', 'plain')}</div>"


def _lengths(statistics: Statistics) -> str:
    columns = ("least", "median", "ninth_decile", "most")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in ("least", "median", "90 %", "most"))
    rows = "".join(
        f'<tr><th scope="row">{part}</th>{"".join(f"<td class=number>{asdict(lengths)[name]:,}</td>" for name in columns)}</tr>'
        for part, lengths in statistics.tokens.items()
    )
    n = next(iter(statistics.tokens.values())).n
    inner = f'<thead><tr><th scope="col">part</th>{head}</tr></thead><tbody>{rows}</tbody>'
    return (
        f'<div><h3>Lengths in tokens <span class="quiet">of {n:,} contexts</span></h3>{framed("Lengths in tokens", inner, "plain")}</div>'
    )


def _group(viewed: ViewedGroup, *, first: bool) -> str:
    seen, branches = viewed.seen, viewed.group.branches
    tokens = sum(len(piece.ids) for part in (seen.context, *(p for b in seen.branches for p in (b.question, b.answer))) for piece in part)
    trained = sum(len(piece.ids) for branch in seen.branches for piece in branch.answer)
    more = f" and {len(branches) - 1} more" if len(branches) > 1 else ""
    name = f'<span class="name">{safe(branches[0].question)}{more}</span>'
    facts = f'<span class="quiet">{tokens:,} tokens, {trained:,} learnt</span>'
    context = (
        f'<div class="part"><h3>Context <span class="quiet">{sum(len(p.ids) for p in seen.context):,} tokens, read once for '
        f"{len(branches)} {'question' if len(branches) == 1 else 'questions'}</span></h3>"
        f'<div class="tokens" tabindex="0" role="group" aria-label="Context">{_context(viewed)}</div></div>'
    )
    parts = "".join(_branch(branch, viewed) for branch in seen.branches)
    return f'<details class="group"{" open" if first else ""}><summary>{name}{facts}</summary>{context}{parts}</details>'


def _branch(branch: SeenBranch, viewed: ViewedGroup) -> str:
    oracles = set(viewed.examples[branch.id].oracles)
    shown = {passage.id for passage in viewed.group.passages or ()}
    state = "evidence shown" if oracles and oracles <= shown else "evidence absent" if oracles else "the documents do not answer it"
    question, answer = (sum(len(piece.ids) for piece in part) for part in (branch.question, branch.answer))
    asked = f'<h3>{safe(branch.id)} <span class="quiet">{state}; {question:,} tokens, no loss</span></h3>'
    learnt = f'<h4>Learnt <span class="quiet">{answer:,} tokens, with a loss</span></h4>'
    return (
        f'<div class="branch"><div class="part">{asked}<div class="tokens">{_tokens(branch.question)}</div></div>'
        f'<div class="part learnt">{learnt}<div class="tokens">{_tokens(branch.answer, trained=True)}</div></div></div>'
    )


def _context(viewed: ViewedGroup) -> str:
    parts = []
    for number, own in groupby(viewed.seen.context, key=lambda piece: piece.passage):
        tokens = _tokens(own)
        if number is None:
            parts.append(tokens)
            continue
        tags, oracle = _tags(viewed, number)
        parts.append(f'<span class="passage-block{" oracle" if oracle else ""}"><span class="tags">{tags}</span>{tokens}</span>')
    return "".join(parts)


def _tags(viewed: ViewedGroup, number: int) -> tuple[str, bool]:
    """What the passage is to each of the context's questions."""
    passage = (viewed.group.passages or ())[number]
    of_oracle: list[str] = []
    others: list[str] = []
    for branch in viewed.group.branches:
        example = viewed.examples[branch.id]
        rank = next((f"rank {each.rank}" for each in example.candidates if each.passage == passage.id), "not among its 20 best")
        whose = f"of {branch.id} ({rank})" if len(viewed.group.branches) > 1 else f"({rank})"
        (of_oracle if passage.id in example.oracles else others).append(whose)
    tags = [f"{kind} {', '.join(whose)}" for kind, whose in (("oracle", of_oracle), ("distractor", others)) if whose]
    return safe(f"{passage.document}: {'; '.join(tags)}"), bool(of_oracle)


def _tokens(pieces: Iterable[Piece], *, trained: bool = False) -> str:
    return "".join(_token(piece, trained) for piece in pieces)


def _token(piece: Piece, trained: bool) -> str:
    kinds = [name for name, on in (("trained", trained), ("special", piece.special), ("quoted", piece.quoted)) if on]
    shape = f' class="{" ".join(kinds)}"' if kinds else ""
    text = safe(piece.text).replace("\n", '<span class="break" aria-hidden="true">⏎</span>\n')
    return f'<i{shape} title="{" ".join(map(str, piece.ids))}">{text}</i>'
