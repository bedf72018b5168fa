"""``/reference/maps/NAME/files``: a version of a map, file by file, for robots that have another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import check_within, is_file
from visloc_ros.core.map_folder import path_within
from visloc_ros.core.map_versions import list_versions
from visloc_server.answers import NO_TOKEN, FileList
from visloc_server.map_files import list_files
from visloc_server.map_route import UNREADABLE, Name
from visloc_server.service import Admitted, Service

BINARY: dict[str, Any] = {"content": {"application/octet-stream": {}}}
Version = Annotated[int, Query(ge=1, description="of the map, as the list of its files has it")]

router = APIRouter(responses=NO_TOKEN)


@router.get("/reference/maps/{name}/files", responses=UNREADABLE)
def files(service: Admitted, name: Name) -> FileList:
    """The files of the present version with their checksums, and the versions that it was made of."""
    return FileList.of(list_files(service.maps.folder_of(name)))


@router.get(
    "/reference/maps/{name}/files/{path:path}",
    response_class=FileResponse,
    responses={**UNREADABLE, 200: BINARY, 206: {**BINARY, "description": "the part that the header Range names"}},
)
def file(service: Admitted, name: Name, path: str, version: Version) -> FileResponse:
    """A file of a version, or a part of it."""
    return FileResponse(_file(service, name, path, version), media_type="application/octet-stream")


def _file(service: Service, name: str, path: str, version: int) -> Path:
    """A file of a version, wherever in the map's folder that lies now."""
    place = service.maps.folder_of(name)
    folder = next((one.folder for one in list_versions(place) if one.number == version), None)
    if folder is None:
        raise HTTPException(404, f"'{name}' has no version {version} any more: list its files again")
    try:
        check_within(folder, place, ConfigError)
        found = path_within(folder, path)
    except ConfigError:
        raise HTTPException(404, f"'{name}' has no file of that name") from None
    if not is_file(found):
        raise HTTPException(404, f"'{name}' has no file of that name")
    return found
