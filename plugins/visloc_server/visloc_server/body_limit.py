"""Refuses requests that are too long or come too slowly, and closes connections that bring none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

SILENCE_S = 30.0  # between two pieces of a body: mobile networks have gaps of some seconds


@dataclass(frozen=True)
class Limit:
    """The largest size and duration of a body."""

    most_bytes: int
    within_s: float


class _RefusedError(Exception):
    """The request is refused, and its body is not read any further."""


class BodyLimit:
    """ASGI middleware: 413 for bodies that are too long, whether they state it or not, 408 for those that do not come.

    ``others`` are the limits of paths that have their own.
    """

    def __init__(self, app: ASGIApp, limit: Limit, others: Mapping[str, Limit] | None = None) -> None:
        self._app, self._limit, self._others = app, limit, others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while it is neither too long nor too late."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(self._others.get(scope["path"], self._limit), receive)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > body.limit.most_bytes:
            await body.too_long()(scope, receive, send)
            return
        is_answered = False

        async def checked(message: Message) -> None:
            """Answer with the refusal of the body in place of the route's answer."""
            nonlocal is_answered
            if body.refusal is None or is_answered:
                is_answered = True
                await send(message)

        with suppress(_RefusedError):
            await self._app(scope, body.receive, checked)
        if body.refusal is not None and not is_answered:
            await body.refusal(scope, receive, send)


class _LimitedBody:
    """The body of one request; ``refusal`` is why it was refused."""

    def __init__(self, limit: Limit, receive: Receive) -> None:
        self.limit = limit
        self.refusal: JSONResponse | None = None
        self._receive, self._taken, self._is_whole = receive, 0, False
        self._deadline_s = asyncio.get_running_loop().time() + limit.within_s

    async def receive(self) -> Message:
        """The next message of the request. Raises _RefusedError."""
        if self._is_whole:
            return await self._receive()
        left_s = self._deadline_s - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), min(left_s, SILENCE_S))
        except asyncio.TimeoutError:
            self.refusal = _refused(408, "the request did not come in time: see to the connection, and send it again")
            raise _RefusedError from None
        self._taken += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._taken > self.limit.most_bytes:
            self.refusal = self.too_long()
            raise _RefusedError
        return message

    def too_long(self) -> JSONResponse:
        """The refusal of a body that is too long."""
        return _refused(413, f"the request is longer than the {self.limit.most_bytes / 1e6:.0f} MB that are taken here")


def _refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers={"Connection": "close"})


HEAD_S = 15.0  # for the head of a request, which is one packet


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a request no longer than twice ``HEAD_S``; its own waits for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_S, self._look, None)

    def _look(self, last: Any) -> None:
        """Close the connection where no request has come since the last check, and the one before it is answered."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # gone, or a WebSocket now
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is last:
            self.transport.close()
            return
        self.loop.call_later(HEAD_S, self._look, self.cycle)
