"""The child process of :mod:`ragtune.prepare.isolate`: reads files on request, under limits, without network, programs or writing.

Run as ``python -m ragtune.prepare.worker MEMORY_MB TIMEOUT_S``; requests on standard input, replies on what was standard output.
"""

from __future__ import annotations

import itertools
import math
import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragtune.errors import MissingExtraError, ReadError
from ragtune.prepare.clean import Rule
from ragtune.prepare.isolate import encode, receive, send
from ragtune.prepare.read import parts, read_source, tidy
from ragtune.prepare.sources import Fields, Source
from ragtune.types import Document, Reason

_FORBIDDEN = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.bind",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.chmod",
    }
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Serve requests until standard input ends."""
    memory_mb, timeout_s = int(sys.argv[1]), float(sys.argv[2])
    sys.dont_write_bytecode = True
    # what libraries print must not mix with replies
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, memory_mb << 20)
    sys.addaudithook(_forbid)
    send(replies, {"ready": True})
    while (request := receive(sys.stdin.buffer)) is not None:
        fields = Fields(**{**request["fields"], "text": tuple(request["fields"]["text"])})
        source = Source(Path(request["path"]), request["name"], fields=fields, ending=request["ending"])
        for reply in _answer(source, request["rules"], request["skip"], memory_mb, timeout_s):
            send(replies, reply)
            if reply.get("restart"):
                return
        send(replies, {"end": True})


def _answer(source: Source, rules: list[Rule], skip: int, memory_mb: int, timeout_s: float) -> Iterator[dict[str, Any]]:
    """What became of each part of the file; before it its name, where that is not the one told last."""
    found = parts(source)
    told = source.name
    for number in itertools.count():
        _limit_cpu(timeout_s)
        name = source.name
        if name != told:
            yield {"part": (told := name)}
        try:
            part = next(found, None)
            if part is None:
                return
            if number < skip:
                continue
            name = part.name if isinstance(part, Source) else part.source
            if name != told:
                yield {"part": (told := name)}
            repairs: Counter[str] = Counter()
            yield {"documents": [encode(document) for document in _read(part, rules, repairs)], "repairs": repairs}
        except (ReadError, MissingExtraError) as error:
            yield {"error": str(error)}
        except MemoryError:
            yield {"error": f"reading {name} took more than {memory_mb} MiB of memory and was stopped", "limit": True, "restart": True}
        except Exception as error:  # a parser's bug skips the file that shows it
            yield {"error": f"{name} cannot be read: {type(error).__name__}: {str(error)[:300]}", "restart": True}


def _read(part: Source | Document | Reason, rules: list[Rule], repairs: Counter[str]) -> list[Document]:
    if isinstance(part, Document):
        return [tidy(part, rules, repairs)]
    if isinstance(part, Reason):
        raise ReadError(part.reason)
    return read_source(part, rules, repairs)


def _limit(what: int, value: int) -> None:
    try:
        resource.setrlimit(what, (value, value))
    except (ValueError, OSError):  # macOS knows some limits by name only
        return


def _limit_cpu(timeout_s: float) -> None:
    """Should the parent die, a parser that runs away still ends; threads count, hence the factor."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + 2 * timeout_s + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """Parsers only read: refuse the network, other programs and writing. Native code is not seen here; it has no business there either."""
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not allowed while a file is read")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES and arguments[0] != os.devnull:
        raise PermissionError(f"writing {arguments[0]} is not allowed while a file is read")


if __name__ == "__main__":
    main()
