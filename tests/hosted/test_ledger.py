"""The ledger: threads, processes and kills leave it whole, and the cap is never passed."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragtune.errors import RefusalError, SpendingCapError
from ragtune.hosted.ledger import Ledger
from ragtune.types import Reply, Usage
from waiting import PATIENCE_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "project" / "ledger.db"


def python(code: str, path: Path) -> subprocess.Popen[str]:
    head = "from pathlib import Path\nfrom ragtune.hosted.ledger import Ledger\nfrom ragtune.errors import SpendingCapError\n"
    return subprocess.Popen([sys.executable, "-c", f"{head}path = Path({str(path)!r})\n{code}"], stdout=subprocess.PIPE, text=True)


def test_a_reply_is_found_as_it_was_kept(path):
    ledger = Ledger(path)
    reply = Reply("Größe “x”", Usage(3, 4), False, "served", 1.5, 0.01)
    assert ledger.find("k") is None
    ledger.keep("k", reply)
    ledger.keep("k", Reply("another"))
    found = Ledger(path).find("k")
    assert found == Reply("Größe “x”", Usage(3, 4), False, "served", 1.5, 0.01, cached=True)


def test_a_refusal_that_was_paid_for_is_raised_as_it_was_kept(path):
    Ledger(path).keep("k", RefusalError("m: no", charged=True, tokens=(20, 5), cost=0.25))
    with pytest.raises(RefusalError, match="m: no") as caught:
        Ledger(path).find("k")
    assert (caught.value.charged, caught.value.tokens, caught.value.cost) == (True, (20, 5), 0.25)


def test_a_reservation_counts_until_it_is_settled(path):
    ledger = Ledger(path, cap=1.0)
    first = ledger.reserve("m", 0.6)
    assert ledger.spent == pytest.approx(0.6)
    with pytest.raises(SpendingCapError, match=r"up to \$0\.6000.*\$0\.6000 of the \$1\.00 of chat\.max_cost.*raise chat\.max_cost"):
        ledger.reserve("m", 0.6)
    ledger.settle(first, 0.1)
    assert ledger.spent == pytest.approx(0.1)
    ledger.reserve("m", 0.9)


def test_no_cap_lets_everything_through_and_a_cap_of_nothing_lets_through_what_is_free(path):
    Ledger(path, math.inf).reserve("m", 1e9)
    nothing = Ledger(path.with_name("other.db"), 0.0)
    nothing.reserve("m", 0.0)
    with pytest.raises(SpendingCapError):
        nothing.reserve("m", 1e-9)


def test_threads_together_never_reserve_more_than_the_cap(path):
    ledger = Ledger(path, cap=1.0)

    def reserve(_):
        try:
            return ledger.reserve("m", 0.125)
        except SpendingCapError:
            return None

    with ThreadPoolExecutor(8) as pool:
        reservations = [row for row in pool.map(reserve, range(32)) if row is not None]
    assert len(set(reservations)) == 8
    assert ledger.spent == 1.0


def test_two_processes_share_one_cap(path):
    code = """
got = 0
for _ in range(20):
    try:
        Ledger(path, 1.0).reserve("m", 0.0625)
        got += 1
    except SpendingCapError:
        pass
print(got)
"""
    processes = [python(code, path) for _ in range(2)]
    got = [int(process.communicate(timeout=PATIENCE_S)[0]) for process in processes]
    assert sum(got) == 16
    assert Ledger(path).spent == 1.0


def test_a_killed_process_leaves_what_it_set_aside(path):
    process = python("import time\nLedger(path, 1.0).reserve('m', 0.75)\nprint('reserved', flush=True)\ntime.sleep(3600)", path)
    assert process.stdout is not None
    assert process.stdout.readline() == "reserved\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    ledger = Ledger(path, 1.0)
    assert ledger.spent == 0.75
    with pytest.raises(SpendingCapError):
        ledger.reserve("m", 0.5)


def test_a_process_killed_within_a_transaction_blocks_nobody(path):
    code = """
import sqlite3, time
Ledger(path)
db = sqlite3.connect(path, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO spending (at, model, dollars, settled) VALUES (0, 'm', 9, 0)")
print("open", flush=True)
time.sleep(3600)
"""
    process = python(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.kill()
    process.communicate()
    Ledger(path, 1.0).reserve("m", 0.5)
    assert Ledger(path).spent == 0.5
