"""``/``: the web page, which loads nothing from other sites, and ``/reports`` of drives, below one folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from visloc_ros.evaluation.report import REPORT_NAME
from visloc_server.answers import NO_TOKEN, Problem
from visloc_server.map_route import SANDBOX
from visloc_server.service import Admitted

# Only this server's files run, and only this server is contacted; pictures of cameras and videos are the page's own.
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
FOLDER = Path(__file__).with_name("page")
MOST_REPORTS, MOST_LEVELS = 200, 4
MOST_REPORT_BYTES = 64 << 20

router = APIRouter()


@router.get("/", include_in_schema=False)
def index() -> Response:
    """The page."""
    return FileResponse(FOLDER / "index.html", headers=SAFE)


class PageFiles(StaticFiles):
    """The files of the page, with security headers for browsers."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update(SAFE)
        return response


class Report(BaseModel):
    """A report that can be read."""

    name: str = Field(description="its folder")
    written_s: float = Field(description="seconds since 1970")


@router.get("/reports", responses=NO_TOKEN)
def reports(service: Admitted) -> list[Report]:
    """The reports, the newest first."""
    found = [Report(name=name, written_s=path.stat().st_mtime) for name, path in _reports(service.reports_folder)]
    return sorted(found, key=lambda report: -report.written_s)


@router.get(
    "/reports/page",
    response_class=Response,
    responses={
        **NO_TOKEN,
        200: {"content": {"text/html": {}}},
        404: {"model": Problem, "description": "no such report"},
        422: {"description": "no name"},
    },
)
def page(service: Admitted, name: Annotated[str, Query(description="of the report")]) -> HTMLResponse:
    """A report as a page."""
    path = dict(_reports(service.reports_folder)).get(name)
    if path is None or path.stat().st_size > MOST_REPORT_BYTES:
        raise HTTPException(404, "there is no report of that name")
    return HTMLResponse(path.read_bytes(), headers=SANDBOX)


def _reports(folder: Path | None) -> Iterator[tuple[str, Path]]:
    """Reports with their names; links are not followed."""
    if folder is None:
        return
    patterns = ["/".join([*["*"] * level, REPORT_NAME]) for level in range(MOST_LEVELS + 1)]
    paths = (path for pattern in patterns for path in folder.glob(pattern))
    for path in islice(paths, MOST_REPORTS):
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            yield str(path.parent.relative_to(folder)), path
