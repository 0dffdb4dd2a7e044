"""E-mail messages: headers and body as one document, each attachment as a source of its own."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage, MIMEPart
from pathlib import PurePosixPath

from ragtune.errors import ReadError
from ragtune.prepare.read.html import read_page
from ragtune.prepare.read.text import decode
from ragtune.prepare.sources import Source
from ragtune.types import JSON, Document, Reason

_HEADERS = {"author": "from", "to": "to", "cc": "cc", "date": "date"}
_MOST_ATTACHMENTS = 1000


def unpack(source: Source) -> Iterator[Source | Document | Reason]:
    """The message, then its attachments, named ``mail.eml/report.pdf``.

    Raises:
        ReadError: it is no message, or is encrypted.
    """
    message = email.message_from_bytes(source.read_bytes(), policy=email.policy.default)
    if not any(message.get(name) for name in ("from", "to", "subject", "date", "received")):
        raise ReadError(f"{source.name} is not an e-mail message: it has no headers")
    if message.get_content_type() in ("multipart/encrypted", "application/pkcs7-mime"):
        raise ReadError(f"{source.name} is encrypted: save it decrypted")
    found = _message(source, message)
    yield found if found.text.strip() else Reason(source.name, f"no text found in {source.name}")
    yield from _attachments(source, message)


def _message(source: Source, message: EmailMessage) -> Document:
    subject = _header(message, "subject")
    metadata: dict[str, JSON] = {key: value for key, name in _HEADERS.items() if (value := _header(message, name))}
    body = _body(message)
    lines = [f"{key.title() if key != 'author' else 'From'}: {value}" for key, value in metadata.items()]
    if (sent := _sent(message)) is not None:
        metadata["date"] = sent
    text = "\n\n".join(filter(None, [subject and f"# {subject}", "\n".join(lines), body]))
    return Document(source.name, subject, text, "message/rfc822", metadata)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError, TypeError):  # the standard library's parser of headers trips over some
        return ""


def _sent(message: EmailMessage) -> str | None:
    try:
        sent = getattr(message.get("date"), "datetime", None)
    except (ValueError, IndexError, AttributeError, TypeError):
        return None
    return sent.isoformat() if sent is not None else None


def _body(message: EmailMessage) -> str:
    """The plain text, else the HTML as Markdown."""
    try:
        part = message.get_body(("plain", "html"))
    except (ValueError, KeyError, AttributeError):  # broken multiparts
        part = None
    if part is None:
        return ""
    data = _bytes(part)
    charset = part.get_content_charset()
    if part.get_content_type() == "text/html":
        return read_page(decode(data, charset).encode())[1]
    return decode(data, charset).strip()


def _attachments(source: Source, message: EmailMessage) -> Iterator[Source | Reason]:
    bodies = {id(part) for kind in ("plain", "html") if (part := message.get_body((kind,))) is not None}
    taken: set[str] = set()
    number = 0
    for part in _leaves(message) if message.is_multipart() else []:
        if id(part) in bodies:
            continue
        number += 1
        if number > _MOST_ATTACHMENTS:
            yield Reason(source.name, f"{source.name} has more than {_MOST_ATTACHMENTS:,} attachments: the others are not read")
            return
        name = f"{source.name}/{_distinct(_file_name(part, number), taken)}"
        yield replace(source, name=name, data=_bytes(part))


def _leaves(message: MIMEPart) -> Iterator[MIMEPart]:
    """Parts that are not made of parts; a forwarded message is one."""
    for part in message.iter_parts():
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            yield from _leaves(part)
        else:
            yield part


def _file_name(part: MIMEPart, number: int) -> str:
    try:
        name = PurePosixPath((part.get_filename() or "").replace("\\", "/")).name.strip(". ")
    except (ValueError, TypeError, LookupError):
        name = ""
    if part.get_content_type() == "message/rfc822":
        return name if name.endswith(".eml") else f"message-{number}.eml"
    return name or f"attachment-{number}.{part.get_content_subtype().replace('plain', 'txt')}"


def _distinct(name: str, taken: set[str]) -> str:
    path = PurePosixPath(name.encode("utf-8", "replace").decode())
    unique, number = path.name, 2
    while unique in taken:
        unique, number = f"{path.stem}-{number}{path.suffix}", number + 1
    taken.add(unique)
    return unique


def _bytes(part: MIMEPart) -> bytes:
    if part.get_content_type() == "message/rfc822":
        return b"".join(inner.as_bytes() for inner in part.iter_parts())
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
