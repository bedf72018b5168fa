"""Clients that send too much, too slowly or nothing are let go, and others are answered meanwhile."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI, Request

from visloc_server import body_limit
from visloc_server.body_limit import BodyLimit, Limit, PatientProtocol

HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n"
TIMEOUT_S = 20.0


@pytest.fixture
def connect(monkeypatch):
    """Connections to a server that counts the bytes of a body, with as much patience as a busy computer needs."""
    with serving(monkeypatch, head_s=0.3, silence_s=0.5, within_s=1.5) as connect:
        yield connect


@pytest.fixture
def connect_to_impatient(monkeypatch):
    with serving(monkeypatch, head_s=0.1, silence_s=0.3, within_s=0.6) as connect:
        yield connect


@contextmanager
def serving(monkeypatch, head_s, silence_s, within_s):
    monkeypatch.setattr(body_limit, "HEAD_S", head_s)
    monkeypatch.setattr(body_limit, "SILENCE_S", silence_s)
    app = FastAPI()
    app.add_middleware(BodyLimit, limit=Limit(1000, within_s=within_s))

    @app.post("/")
    async def count(request: Request) -> int:
        return len(await request.body())

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=PatientProtocol, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield lambda: socket.create_connection(listening.getsockname(), timeout=TIMEOUT_S)
    server.should_exit = True
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def answer(connection):
    """All that comes until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_a_body_in_time_is_taken(connect):
    connection = connect()
    connection.sendall(HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") % 900)
    for _ in range(3):
        connection.sendall(b"x" * 300)
        time.sleep(0.2)  # as a slow network would
    assert answer(connection).endswith("900")


def test_a_body_that_does_not_come_is_refused(connect_to_impatient):
    connection = connect_to_impatient()
    connection.sendall(HEAD % 900 + b"x")
    assert answer(connection).startswith("HTTP/1.1 408")


def test_a_body_that_comes_too_slowly_is_refused(connect_to_impatient):
    connection = connect_to_impatient()
    connection.sendall(HEAD % 900)
    refused = threading.Event()

    def trickle():
        while not refused.wait(0.1):
            connection.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    begin = connection.recv(12)
    refused.set()
    thread.join()
    assert begin == b"HTTP/1.1 408"
    connection.close()


def test_a_body_that_is_longer_than_it_may_be_is_refused(connect):
    connection = connect()
    connection.sendall(HEAD % 1001)
    assert answer(connection).startswith("HTTP/1.1 413")
    connection = connect()
    connection.sendall(HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked"))
    connection.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
    assert answer(connection).startswith("HTTP/1.1 413")


@pytest.mark.parametrize("begin", [b"", b"POST / HTTP/1.1\r\nHost", HEAD % 1 + b"x" + b"GET"])
def test_connections_that_ask_for_nothing_are_closed(connect_to_impatient, begin):
    connection = connect_to_impatient()
    connection.sendall(begin)
    answer(connection)  # which ends
