"""``/reference/maps/NAME/...``: the data of a map for the page: points, images, and its card."""

from __future__ import annotations

import trimesh
from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import map_folder
from visloc_ros.core.map_layout import CARD_NAME
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.server.access import Admitted
from visloc_ros.server.answers import NO_TOKEN, Pose
from visloc_ros.server.map_route import REFUSALS, Name
from visloc_ros.server.service import Service
from visloc_ros.viewer.point_colours import point_colours

# Cards are shown in a sandbox, since they may be untrusted: they run nothing, load nothing, and belong to no site.
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}

router = APIRouter(
    prefix="/reference/maps/{name}", responses={**NO_TOKEN, **{one: REFUSALS[one] for one in (404, 422, 500, 503)}}
)


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


@router.get("/points", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
async def points(service: Admitted, name: Name) -> Response:
    """The map's points in their colours, as a binary PLY file."""
    place = await _opened(service, name)
    return Response(await run_in_threadpool(_as_ply, place), media_type="application/octet-stream")


@router.get("/images")
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


@router.get("/card", response_class=Response, responses={200: {"content": {"text/html": {}}}})
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
