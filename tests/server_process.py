"""The process of a server on loopback: prints its address once it listens, and ends with its standard input.

It is run by other Pythons than the tests' own too, so it imports nothing of ragtune.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def _end_with_parent() -> None:
    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _serve_llama(weights: str, key: str, embeddings: bool) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.model_alias = {"smollm2"}
    params.n_ctx, params.n_parallel = 8192, 2
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # its threads wait busily, which starves tests beside it
    if embeddings:
        params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


def _serve_litellm(settings: str) -> None:
    os.environ["CONFIG_FILE_PATH"] = settings
    import uvicorn
    from litellm.proxy.proxy_server import app

    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    _end_with_parent()
    if sys.argv[1] == "litellm":
        _serve_litellm(sys.argv[2])
    else:
        _serve_llama(sys.argv[2], sys.argv[3], embeddings=sys.argv[1] == "embeddings")
