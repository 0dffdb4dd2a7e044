"""The OpenAPI document says what the server does: schemathesis asks it whatever the document allows, and what it does not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_app import end_jobs
from hypothesis import HealthCheck, settings
from served_project import running

from ragtune import Project
from ragtune.serve.app import close_state, create_app
from ragtune.serve.jobs import Jobs
from waiting import PATIENCE_S

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = 10
"""For each path and mode."""
# What a valid request says may be wrong all the same: a prompt that does not fit the model, a schema that holds no JSON.
ACCEPTED = ["2xx", "400", "401", "403", "404", "409", "429", "5xx"]
REJECTED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
"""What may be answered to a request that violates the document: schemathesis' own list, and that it is too large."""


def document() -> dict[str, Any]:
    """Of any project."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Project(folder, create=True))
        close_state(app.state.ragtune)
        return app.openapi()


DOCUMENT = document()
schema = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=schemathesis.Config.from_dict(
        {
            "request-timeout": PATIENCE_S,
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": REJECTED},
            },
        }
    ),
)


@pytest.fixture(scope="module")
def api(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Where a server is that wants a key, and the key."""
    copy = tmp_path_factory.mktemp("openapi") / "handbook"
    shutil.copytree(indexed, copy)
    project = Project(copy, overrides=["generate.max_new_tokens=2"])
    secret = project.add_key("schemathesis", scopes=["ask", "read", "write", "admin"]).secret
    with running(project) as server:
        yield {"base_url": server.url, "headers": {"Authorization": f"Bearer {secret}"}}
    end_jobs(Jobs(project.workspace))


@schema.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_what_its_document_says(case, api):
    case.call_and_validate(**api)


def test_every_error_of_the_document_has_openais_shape():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody"), (path, status)


def test_what_generated_clients_call_is_named_as_it_is_here():
    names = [operation["operationId"] for operations in DOCUMENT["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names))
    assert {"complete", "embed", "search", "create_job", "list_documents"} <= set(names)
