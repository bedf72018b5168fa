"""``/reference/maps/NAME/versions`` and ``rollback``: the versions of a map, and which one is the present."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from visloc_ros.core.map_versions import list_versions
from visloc_server.answers import NO_TOKEN, Problem, VersionStatus
from visloc_server.map_route import REFUSALS as MAP_REFUSALS
from visloc_server.map_route import UNREADABLE, Name
from visloc_server.service import Admitted, from_here

REFUSALS: dict[int | str, dict[str, Any]] = {
    **UNREADABLE,
    403: MAP_REFUSALS[403],
    409: MAP_REFUSALS[409],
    422: {"description": "no name, an archive, or no such version"},
    507: {"model": Problem, "description": "the map cannot be written"},
}

router = APIRouter(responses=NO_TOKEN)


@router.get("/reference/maps/{name}/versions", responses=UNREADABLE)
def versions(service: Admitted, name: Name) -> list[VersionStatus]:
    """The versions of a map, by number."""
    return [VersionStatus.of(one) for one in list_versions(service.maps.folder_of(name))]


@router.post("/reference/maps/{name}/rollback", dependencies=[Depends(from_here)], responses=REFUSALS)
async def roll_back(
    service: Admitted,
    name: Name,
    version: Annotated[int, Query(ge=0, description="to put in the present one's place; 0: its parent")] = 0,
) -> VersionStatus:
    """Put an earlier version in the place of the present one, which is kept; later searches are in that version."""
    await service.queue.do(lambda: service.roll_back_map(name, version or None))
    return next(one for one in versions(service, name) if one.present)
