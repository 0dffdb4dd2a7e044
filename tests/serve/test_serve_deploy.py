"""The files of deploy/: the nginx configuration as it ships before a real server, and what the others must say."""

from __future__ import annotations

import contextlib
import http.client
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_app import client_of, open_app, serving

from ragtune import Project
from waiting import PATIENCE_S, until

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
OPENSSL = shutil.which("openssl")
NAME = "ragtune.example.org"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, signed by itself."""
    if not NGINX or not OPENSSL:
        pytest.skip("nginx or openssl is not installed")
    made = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subprocess.run(list(map(str, made)), check=True, capture_output=True)
    return tmp_path / "cert.pem"


@pytest.fixture
def proxied(tmp_path: Path, certificate: Path, project: Path) -> Iterator[tuple[httpx.Client, Project]]:
    """A client of nginx, which stands before a server with a project; nginx is set up as deploy/nginx.conf says."""
    opened = Project(project, overrides=[f'serve.origins=["https://{NAME}"]'])
    key = opened.add_key("browser", scopes=["ask", "read", "write"]).secret
    folder = tmp_path / "nginx"
    folder.mkdir()
    with open_app(opened) as app, serving(app) as address:
        port = _free_port()
        site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
        for shipped, here in (
            ("127.0.0.1:8321", address.removeprefix("http://")),
            ("listen 80;", f"listen 127.0.0.1:{_free_port()};"),
            ("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;"),
            ("/etc/nginx/tls/ragtune.crt", str(certificate)),
            ("/etc/nginx/tls/ragtune.key", str(tmp_path / "key.pem")),
        ):
            assert shipped in site
            site = site.replace(shipped, here)
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} http {{ access_log off; {temporary}\n{site}\n}}\n",
            encoding="utf-8",
        )
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        with (folder / "out").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as nginx:
            trust = ssl.create_default_context(cafile=str(certificate))
            told = {"Host": NAME, "Authorization": f"Bearer {key}", "Origin": f"https://{NAME}"}
            try:
                with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, timeout=PATIENCE_S, headers=told) as client:
                    until(lambda: nginx.poll() is not None or _answers(client))
                    assert nginx.poll() is None, (folder / "error.log").read_text(encoding="utf-8")
                    yield client, opened
            finally:
                nginx.terminate()


def test_events_pass_through_nginx_as_they_happen(proxied):
    client, opened = proxied
    with opened.workspace.lock("index"):
        job = client.post("/api/jobs", json={"kind": "ingest"}).json()
        with client.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
            assert stream.headers["strict-transport-security"]
            for line in stream.iter_lines():
                if "ragtune index" in line:
                    break  # a proxy that gathers first would send nothing before the job ends, which it cannot while the lock is held


def test_uploads_of_the_size_that_ragtune_takes_pass_through_nginx(proxied):
    client, opened = proxied
    big = client.post("/api/documents", files=[("files", ("big.bin", b"x" * 20_000_000))])
    assert big.json()["saved"] == ["uploads/big.bin"], "nginx takes one megabyte by itself"
    assert (opened.workspace.uploads / "big.bin").stat().st_size == 20_000_000


def test_a_larger_upload_is_refused_by_nginx_before_it_is_sent(proxied, certificate):
    client, _ = proxied
    trust = ssl.create_default_context(cafile=str(certificate))
    with contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", client.base_url.port, context=trust, timeout=PATIENCE_S)
    ) as connection:
        connection.putrequest("POST", "/api/documents")
        connection.putheader("Content-Length", "200000000")
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_behind_a_proxy_a_server_answers_to_its_name_and_wants_a_key(project):
    with open_app(Project(project)) as app, client_of(app) as client:
        assert client.get("/api/jobs").status_code == 200
        assert client.get("/api/jobs", headers={"Host": NAME}).status_code == 400, "it is told under which address it is reached"
    with open_app(Project(project, overrides=[f'serve.origins=["https://{NAME}"]'])) as app, client_of(app) as client:
        assert client.get("/api/jobs", headers={"Host": NAME}).status_code == 401, "whoever reaches the proxy is not this machine"
        assert client.get("/api/jobs", headers={"Host": "elsewhere.example.org"}).status_code == 400


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/presets").status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    """One that nobody has, below those that the system hands out: no other server or client is given it before nginx has it."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
