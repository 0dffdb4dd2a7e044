"""Keys of clients."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ragtune.access import Key, NewKey
from ragtune.screen import console


def show_new_key(made: NewKey) -> None:
    """The key on a line of its own, to be copied."""
    console.out.print(made.secret, soft_wrap=True, markup=False)
    console.err.print(f"the key of {made.key.name} ({', '.join(made.key.scopes)}): it is shown this once", markup=False)


def show_keys(keys: Sequence[Key]) -> None:
    """A line for each key."""
    if not keys:
        console.out.print("there are no keys: make one with 'ragtune keys add NAME'")
        return
    table = Table(box=None)
    for title in ("name", "may", "documents", "a minute", "last used", "expires"):
        table.add_column(title)
    for key in keys:
        found = "all" if key.access is None else f"untagged, {', '.join(key.access)}" if key.access else "untagged"
        limits = [f"{key.requests_per_minute} requests"] if key.requests_per_minute else []
        limits += [f"{key.tokens_per_minute} tokens"] if key.tokens_per_minute else []
        used, expires = ((at or "never")[:16].replace("T", " ") for at in (key.used, key.expires))
        table.add_row(key.name, ", ".join(key.scopes), found, ", ".join(limits) or "no limit", used, expires)
    console.out.print(table)


def show_revoked(keys: Sequence[Key]) -> None:
    """That they are gone."""
    for key in keys:
        console.out.print(f"revoked {key.name}", markup=False)
