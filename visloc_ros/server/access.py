"""Access control: clients with the token are served, pages of other sites are not."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, WebSocket
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from visloc_ros.server.service import Service

bearer = HTTPBearer(auto_error=False, description="the token that the server was started with")


def service_of(request: Request) -> Service:
    """The service of the application."""
    service: Service = request.app.state.service
    return service


def admitted(
    service: Annotated[Service, Depends(service_of)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Service:
    """The service, for authorized clients."""
    if not service.admits("" if given is None else given.credentials):
        remedy = "give the server's token: 'Authorization: Bearer TOKEN'"
        raise HTTPException(401, remedy, {"WWW-Authenticate": "Bearer"})
    return service


Admitted = Annotated[Service, Depends(admitted)]


def admits_socket(socket: WebSocket, service: Service, token: str = "") -> bool:
    """Whether a WebSocket is authorized, by its header or by a token given otherwise."""
    return service.admits(token or socket.headers.get("authorization", "").removeprefix("Bearer "))


def is_foreign(connection: Request | WebSocket) -> bool:
    """Whether a request is from a page of another site, by the origin that browsers send."""
    origin = connection.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != connection.headers.get("host")


def from_here(request: Request) -> None:
    """Refuse a change requested by a page of another site."""
    if is_foreign(request):
        raise HTTPException(403, "a page of another site cannot ask for this")
