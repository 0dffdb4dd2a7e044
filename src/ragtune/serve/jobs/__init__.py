"""Long work that is started over HTTP: jobs, each a child process of its own that the server can lose sight of and find again.

A job lies in ``.ragtune/jobs/ID/``: ``job.json`` (what was asked and how it stands; written by the server alone), ``events.jsonl`` (what it
told, appended to), ``outcome.json`` (what came of it; written by the child last) and ``log.txt`` (what it printed).
"""

from ragtune.serve.jobs.queue import Jobs
from ragtune.serve.jobs.records import Job

__all__ = ["Job", "Jobs"]
