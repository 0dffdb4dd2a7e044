"""Plain text: bytes to characters. The other readers decode with the same function."""

from __future__ import annotations

import codecs

from charset_normalizer import from_bytes

from ragtune.errors import ReadError
from ragtune.prepare.sources import Source
from ragtune.types import Document

# UTF-32 first: its little-endian mark starts with UTF-16's
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FEW_BYTES = 2048  # too few to tell one Latin code page from another by its statistics: the commonest is taken


def decode(data: bytes, hint: str | None = None) -> str:
    """Bytes to text: a byte order mark decides, then UTF-8 where it fits, then the hint, then a guess; what fits nothing is replaced.

    Args:
        data: a whole file.
        hint: an encoding that the file itself names.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data and (wide := _decode_wide(data)) is not None:
        return wide
    for encoding in filter(None, ("utf-8", hint)):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    if b"\0" in data:
        return data.decode("utf-8", errors="replace")
    if len(data) < _FEW_BYTES and sum(byte > 127 for byte in data) < 0.3 * len(data):
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            return data.decode("utf-8", errors="replace")
    guess = from_bytes(data[:200_000]).best()
    return data.decode(guess.encoding if guess else "utf-8", errors="replace")


def _decode_wide(data: bytes) -> str | None:
    """UTF-16 without a mark: most texts then have a zero in every other byte."""
    for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[0::2])):
        if len(data) % 2 == 0 and zeros.count(0) > 0.4 * len(zeros) and data.count(0) < 0.6 * len(data):
            return data.decode(encoding, errors="replace")
    return None


def read(source: Source) -> list[Document]:
    """The whole file as one document."""
    data = source.read_bytes()
    text = decode(data)
    if "\0" in text and text.count("\0") > 0.1 * len(text):
        raise ReadError(f"{source.name} is not text ({data.count(0)} of {len(data)} bytes are zero)")
    return [Document(source.name, "", text, "text/plain")]
