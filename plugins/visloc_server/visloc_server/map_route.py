"""``/reference/status`` and ``/reference/maps``: lists, downloads, deletes and shows maps."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any
from urllib.parse import quote

import trimesh
from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from visloc_ros.core.errors import MapError
from visloc_ros.core.files import is_file
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import map_folder, pack_map, packed_in
from visloc_ros.core.map_folder import ARCHIVE_SUFFIX
from visloc_ros.core.map_layout import CARD_NAME
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.viewer.point_colours import point_colours
from visloc_server.answers import NO_TOKEN, MapStatus, Pose, Problem
from visloc_server.device_queue import QueueFullError
from visloc_server.job import JobKind
from visloc_server.service import Admitted, Service, from_here

logger = logging.getLogger(__name__)

MOST_PACKED = 2  # at the same time: each keeps a core busy
CHUNK_BYTES = 1 << 20
REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "asked by a page of another site"},
    404: {"model": Problem, "description": "no map of that name"},
    409: {"model": Problem, "description": "the map is being built, updated or changed otherwise"},
    422: {"description": "no name"},
    500: {"model": Problem, "description": "the map is broken"},
    503: {"model": Problem, "description": "too many requests wait"},
    507: {"model": Problem, "description": "no room to pack the map, or it may not be deleted"},
}
UNREADABLE: dict[int | str, dict[str, Any]] = {one: REFUSALS[one] for one in (404, 422, 500, 503)}
# Cards are shown in a sandbox, since they may be untrusted: they run nothing, load nothing, and belong to no site.
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
_packing = threading.BoundedSemaphore(MOST_PACKED)

router = APIRouter(responses=NO_TOKEN)
Name = Annotated[str, InPath(description="of the map, as /reference/status lists it")]


@router.get("/reference/status")
def status(service: Admitted) -> list[MapStatus]:
    """The maps that can be searched, those that cannot, and those that are being built."""
    entries = service.maps.entries()
    for entry in entries:
        if entry.problem:
            logger.warning("%s", entry.problem)
    maps = [MapStatus.of(entry, service.maps.is_resident(entry.path.name)) for entry in entries]
    jobs = [job for job in service.jobs.open_jobs() if job.kind is JobKind.BUILD]
    builds = [MapStatus(name=job.name, state=job.state.value) for job in jobs]
    return [one for one in maps if one.name not in {build.name for build in builds}] + builds


@router.get(
    "/reference/maps/{name}",
    response_class=StreamingResponse,
    responses={**UNREADABLE, 507: REFUSALS[507], 200: {"content": {"application/gzip": {}}}},
)
def download(service: Admitted, name: Name) -> StreamingResponse:
    """A map as one archive, which ``--map`` accepts."""
    entry = service.maps.entry(name)
    if entry.problem:
        raise MapError(entry.problem)
    path = packed_in(entry.path)
    archive = path.open("rb") if is_file(path) else _packed(path)
    file_name = f"{name.removesuffix(ARCHIVE_SUFFIX)}{ARCHIVE_SUFFIX}"
    headers = {
        "Content-Length": str(archive.seek(0, 2)),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
    }
    return StreamingResponse(_chunks(archive), media_type="application/gzip", headers=headers)


@router.delete(
    "/reference/maps/{name}",
    status_code=204,
    response_class=Response,
    dependencies=[Depends(from_here)],
    responses={one: REFUSALS[one] for one in (403, 404, 409, 422, 503, 507)},
)
async def delete(service: Admitted, name: Name) -> None:
    """Delete a map, a broken one, too, unless a job of it is open; searches and streams that have begun go on."""
    await service.queue.do(lambda: service.delete_map(name))


def _packed(folder: Path) -> IO[bytes]:
    """A file without a name, which needs no removal if the client goes away."""
    if not _packing.acquire(blocking=False):
        raise QueueFullError
    try:
        with tempfile.TemporaryDirectory(prefix="visloc_download_") as name:
            return pack_map(folder, Path(name) / f"map{ARCHIVE_SUFFIX}").open("rb")
    finally:
        _packing.release()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class ReferenceImage(BaseModel):
    """An image of the map: its pose, and its camera's field of view."""

    name: str
    map_from_camera: Pose
    width: int
    height: int
    focal_length_px: float = Field(description="mean of both axes")


async def _opened(service: Service, name: str) -> Map:
    engine = await service.queue.do(lambda: service.maps.engine(name))
    return engine.map


@router.get(
    "/reference/maps/{name}/points",
    response_class=Response,
    responses={**UNREADABLE, 200: {"content": {"application/octet-stream": {}}}},
)
async def points(service: Admitted, name: Name) -> Response:
    """The map's points in their colours, as a binary PLY file."""
    place = await _opened(service, name)
    return Response(await run_in_threadpool(_as_ply, place), media_type="application/octet-stream")


@router.get("/reference/maps/{name}/images", responses=UNREADABLE)
async def images(service: Admitted, name: Name) -> list[ReferenceImage]:
    """Where the map's images were taken."""
    place = await _opened(service, name)
    return [
        ReferenceImage(
            name=image.name,
            map_from_camera=Pose(**pose_to_mapping(image.map_from_camera)),
            width=image.camera.width,
            height=image.camera.height,
            focal_length_px=image.camera.mean_focal_length(),
        )
        for image in place.images
    ]


@router.get(
    "/reference/maps/{name}/card",
    response_class=Response,
    responses={**UNREADABLE, 200: {"content": {"text/html": {}}}},
)
def card(service: Admitted, name: Name) -> HTMLResponse:
    """The map's card, made when it was built: its content and quality."""
    entry = service.maps.entry(name)
    if entry.problem:
        raise MapError(entry.problem)
    with map_folder(entry.path) as folder:
        path = folder / CARD_NAME
        if not path.is_file() or path.is_symlink():
            raise HTTPException(404, "this map has no card")
        return HTMLResponse(path.read_bytes(), headers=SANDBOX)


def _as_ply(place: Map) -> bytes:
    cloud = trimesh.PointCloud(place.points, point_colours(place))  # type: ignore[no-untyped-call]
    exported: bytes = cloud.export(file_type="ply")  # type: ignore[no-untyped-call]
    return exported
