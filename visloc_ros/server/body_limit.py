"""Requests longer than anybody needs are refused before they are read to their end."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLongError(Exception):
    """More has come than may."""


class BodyLimit:
    """ASGI middleware: 413 for bodies of more than ``most_bytes``, whether they say so or not.

    ``others`` are the limits of paths that have their own.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, others: Mapping[str, int] | None = None) -> None:
        self._app, self._most_bytes, self._others = app, most_bytes, others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on while it is not too long."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most_bytes = self._others.get(scope["path"], self._most_bytes)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most_bytes:
            await self._refuse(most_bytes, scope, receive, send)
            return
        taken, is_answered = 0, False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most_bytes:
                raise _TooLongError
            return message

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = is_answered or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, limited, noted)
        except _TooLongError:
            if not is_answered:
                await self._refuse(most_bytes, scope, receive, send)

    async def _refuse(self, most_bytes: int, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the request is longer than the {most_bytes / 1e6:.0f} MB that this server takes"
        response = JSONResponse({"detail": text}, 413, headers={"Connection": "close"})
        await response(scope, receive, send)
