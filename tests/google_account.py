"""A service account whose tokens come from a server on loopback, so that Google's own way to credentials is gone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def write_account(path: Path, token_uri: str) -> Path:
    """The file that GOOGLE_APPLICATION_CREDENTIALS may name."""
    account = {"type": "service_account", "client_email": "tuner@example.com", "private_key": _private_key(), "private_key_id": "1"}
    path.write_text(json.dumps({**account, "token_uri": token_uri}), encoding="utf-8")
    return path


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
