"""Run every benchmark that is there, one after the other, each in a process of its own; what needs data says so and is skipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    failed = []
    for script in sorted(HERE.glob("*.py")):
        if script.name in (
            "run.py",
            "backends.py",
            "index_vectors.py",
            "squadshifts.py",
            "tune_retriever.py",
        ):  # too long, or for others: run them by themselves
            continue
        print(f"== {script.name}", flush=True)
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            failed.append(script.name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
