"""Shared state of all routes (the maps, the queue before them, the token), and its use by authorized clients alone."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, WebSocket
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import roll_back
from visloc_ros.localization import AnchorConfig
from visloc_server.answers import LocalizeAnswer
from visloc_server.build_jobs import BuildJobs
from visloc_server.config import ServerConfig
from visloc_server.device_queue import DeviceQueue, Search, SearchBatches, SearchRequest
from visloc_server.metrics import FOUND, Metrics
from visloc_server.resident_maps import ResidentMaps
from visloc_server.search_answer import answer_search
from visloc_server.search_processes import SearchProcesses

MOST_BODY_BYTES = 32 << 20  # a photo of 50 megapixels has 20 MB
MOST_VIDEO_BYTES = 8 << 30  # an hour of a phone's full HD
MOST_WAITING = 16  # at 0.3 s a search the last one is answered within five seconds
WITHIN_S = 60.0  # the first search in a large map loads it
MOST_STREAMS = 4  # each takes most of a core


class Service:
    """Shared state of all routes: the maps, the queue before them, and the token."""

    def __init__(self, config: ServerConfig) -> None:
        self.maps = ResidentMaps(config.maps_folder, config.memory_bytes, AnchorConfig(search=config.search))
        self.queue = DeviceQueue(MOST_WAITING, WITHIN_S)
        self._batches = SearchBatches()
        self.processes = SearchProcesses(config, WITHIN_S, self._find_in_turn, self._make_room)
        self.jobs = BuildJobs(config.maps_folder, lambda name: self.queue.wait_for(lambda: self._forget_map(name)))
        self.reports_folder = config.reports_folder
        self.num_streams = 0
        self.metrics = Metrics(lambda: self.queue.waiting, lambda: self.num_streams, lambda: self.maps.num_resident)
        self._token = config.token.encode()

    def admits(self, token: str) -> bool:
        """Whether a client with this token is authorized."""
        return not self._token or secrets.compare_digest(token.encode(), self._token)

    def close(self) -> None:
        """End all work; the next server continues builds."""
        self.jobs.close()
        self.processes.close()
        self.queue.close()

    def delete_map(self, name: str) -> None:
        """Delete a map. Raises TakenNameError during a job of it, and as ``ResidentMaps.delete`` does."""
        with self.jobs.none_of(name):
            try:
                self.maps.delete(name)
            finally:
                self.processes.forget_maps()

    def roll_back_map(self, name: str, version: int | None) -> Manifest:
        """Put an earlier version in a map's place. Raises TakenNameError during a job of it, and as ``roll_back``."""
        folder = self.maps.folder_of(name)
        try:
            with self.jobs.none_of(name), changing(folder):
                return roll_back(folder, version)
        finally:
            self._forget_map(name)

    def _forget_map(self, name: str) -> None:
        """Let searches load a map again, in the thread of the queue."""
        self.maps.forget(name)
        self.processes.forget_maps()

    async def localize(self, data: bytes, request: SearchRequest, client: str = "") -> LocalizeAnswer:
        """Find an image when its turn comes. Raises as ``DeviceQueue.do`` does, and VislocError."""
        self.queue.check_room(client)  # a refused search joins no batch
        search = Search(data, request)
        with self._batches.waiting(search):
            on_wait = partial(self.processes.offer, search)
            answer: LocalizeAnswer = await self.queue.do(lambda: self._find(search), client, on_wait)
        self.metrics.searches.labels(FOUND if answer.success else answer.reason).inc()
        return answer

    def _find(self, search: Search) -> LocalizeAnswer:
        """The result of a search in its turn, in the thread of the queue."""
        return answer_search(self.maps, search, self._batches.extract)

    def _find_in_turn(self, search: Search) -> LocalizeAnswer:
        """The same for another thread, which waits."""
        return self.queue.wait_for(lambda: self._find(search))

    def _make_room(self, processes: int) -> None:
        self.queue.most_waiting = MOST_WAITING * (1 + processes)


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
