"""Closes connections without a request: uvicorn keeps a connection for ever until a whole head has come."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0  # for the head of a request, which is one packet


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a request no longer than twice ``HEAD_S``."""

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
