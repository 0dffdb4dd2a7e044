"""Random draws that depend on nothing but their own key: the same in any order, on any machine, after any resumption."""

from __future__ import annotations

from hashlib import blake2b


def draw(*key: object) -> int:
    """A uniform 64-bit integer that is a pure function of ``key``; parts are told apart by their place, not only by their text."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def draw_unit(*key: object) -> float:
    """A uniform float in [0, 1) that is a pure function of ``key``."""
    # 53 bits, so that the quotient never rounds up to 1.0.
    return (draw(*key) >> 11) / float(1 << 53)
