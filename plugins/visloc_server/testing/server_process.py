"""``visloc serve`` as a separate process, for programs and tests that use it over real sockets."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

WAIT_S = 60.0  # for the server to start, to answer and to end


@dataclass(frozen=True)
class HttpServer:
    """A server's process, and a client of it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client

    @property
    def port(self) -> int:
        """Its address, at 127.0.0.1."""
        port = self.client.base_url.port
        assert port is not None
        return port


def free_port() -> int:
    """A free port at 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    maps: Path, *arguments: str, port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[HttpServer]:
    """A server that runs as long as the block, and must end in order then. Raises RuntimeError where it does not."""
    port = port or free_port()
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "serve", "--maps", str(maps), "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=environment)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S, trust_env=False) as client:
                is_there = _wait_for(process, client)
                if is_there:
                    yield HttpServer(process, client)
                process.send_signal(signal.SIGTERM)
                code = process.wait(WAIT_S)
            log.seek(0)
            output = log.read().decode(errors="replace")
            if code or not is_there or "Traceback" in output:
                raise RuntimeError(f"the server ended with {code}: {output}")
        finally:
            process.kill()


def answers(client: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def _wait_for(process: subprocess.Popen[bytes], client: httpx.Client) -> bool:
    """Whether a server that has been started answers in time."""
    deadline = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if answers(client):
            return True
        time.sleep(0.05)
    return False
