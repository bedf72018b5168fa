"""Answers over HTTP that end: whoever gives them, they are bounded in bytes and in time, and come as they are.

Nothing is unpacked, so that a small answer stays small. A server cannot hold a client either: a thread beside the
request cuts a connection on which the answer, its head included, comes more slowly than any network that is of use.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import httpx

from visloc_ros.core.errors import VislocError

SLOWEST_BYTES_A_SECOND = 10_000
MOST_JSON_BYTES = 16 << 20
"""The files of a map of 100,000 images."""
_MOST_JSON_VALUES = 400_000  # of the same; what they take in memory is many times their text
_LONG, _SLOW = "gives more than such an answer can have", "sends its answer too slowly"


class AnswerError(VislocError):
    """An answer does not come, or is none that is taken; the message says what the server does, without its name."""


class TooLongError(AnswerError):
    """An answer has more bytes than it can have."""


class BoundedClient:
    """Sends one request at a time over a client; an answer may take ``patience_s`` more than its bytes explain."""

    def __init__(self, client: httpx.Client, patience_s: float) -> None:
        self._client, self._patience_s = client, patience_s
        self._socket: socket.socket | None = None

    @contextmanager
    def ask(self, method: str, url: str, **content: Any) -> Iterator[Answer]:
        """An answer, whose body is read within the block; ``content`` as httpx has it. Raises AnswerError."""
        content["headers"] = {**content.get("headers", {}), "Accept-Encoding": "identity"}
        watch = _Watch(self, self._patience_s)
        try:
            request = self._client.build_request(method, url, extensions={"trace": self._notice}, **content)
            watch.allow(int(request.headers.get("Content-Length", 0)))
            with watch:
                answer = self._client.send(request, stream=True)
                try:
                    yield Answer(answer, watch)
                finally:
                    answer.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            if watch.is_late:
                raise AnswerError(_SLOW) from error
            raise AnswerError(f"does not answer ({type(error).__name__})") from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def cut(self) -> None:
        """Break off the connection that is used now, from another thread."""
        if self._socket is not None:
            with suppress(OSError):  # it has gone already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _notice(self, event: str, values: dict[str, Any]) -> None:
        """Keep the newest connection, as it is after each step of making one."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = values["return_value"].get_extra_info("socket")


class Answer:
    """An answer whose head has come: its ``status`` and ``headers``, and its body, which is read once.

    ``received`` counts the bytes of the body so far.
    """

    def __init__(self, answer: httpx.Response, watch: _Watch) -> None:
        self._answer, self._watch = answer, watch
        self.status = answer.status_code
        self.headers = answer.headers
        self.received = 0

    def check_plain(self) -> None:
        """Raise AnswerError where the body is packed."""
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise AnswerError("packs its answer, though it is asked not to")

    def pieces(self, at_most: int) -> Iterator[bytes]:
        """The body as it comes, also where it is packed. Raises TooLongError beyond ``at_most`` bytes, AnswerError."""
        stated = self.headers.get("Content-Length", "")
        if stated.isdigit() and int(stated) > at_most:
            raise TooLongError(_LONG)
        for piece in self._answer.iter_raw():
            self.received += len(piece)
            if self.received > at_most:
                raise TooLongError(_LONG)
            self._watch.allow(len(piece))
            yield piece
        if self._watch.is_late:  # an answer without a length ends where it is cut
            raise AnswerError(_SLOW)

    def body(self, at_most: int) -> bytes:
        """The whole body. Raises AnswerError as ``pieces`` does."""
        return b"".join(self.pieces(at_most))


def read_json(data: bytes, *, allow_nan: bool = False) -> Any:
    """The values of a text of JSON, which names nothing twice in an object. Raises AnswerError."""
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_JSON_VALUES:
        raise TooLongError(_LONG)
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=None if allow_nan else _refuse)
    except (ValueError, RecursionError) as error:
        raise AnswerError("gives an answer that cannot be read") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


class _Watch:
    """Cuts a client's connection when the time is over that the bytes of its request and answer explain."""

    def __init__(self, client: BoundedClient, patience_s: float) -> None:
        self.is_late = False
        self._client, self._deadline_s = client, time.monotonic() + patience_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="visloc answers", daemon=True)

    def allow(self, size: int) -> None:
        """Allow the time for so many bytes."""
        self._deadline_s += size / SLOWEST_BYTES_A_SECOND

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(max(self._deadline_s - time.monotonic(), 0.01)):
            if time.monotonic() >= self._deadline_s:
                self.is_late = True
                self._client.cut()
