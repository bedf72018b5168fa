"""``/reports``: reports of ``visloc run``, ``replay`` and others about drives, below one folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from visloc_ros.evaluation.report import REPORT_NAME
from visloc_ros.server.access import Admitted
from visloc_ros.server.answers import NO_TOKEN, Problem
from visloc_ros.server.scene_route import SANDBOX

MOST_REPORTS, MOST_LEVELS = 200, 4
MOST_BYTES = 64 << 20

router = APIRouter(prefix="/reports", responses=NO_TOKEN)


class Report(BaseModel):
    """A report that can be read."""

    name: str = Field(description="its folder")
    written_s: float = Field(description="seconds since 1970")


@router.get("")
def reports(service: Admitted) -> list[Report]:
    """The reports, the newest first."""
    found = [Report(name=name, written_s=path.stat().st_mtime) for name, path in _reports(service.reports_folder)]
    return sorted(found, key=lambda report: -report.written_s)


@router.get(
    "/page",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {}}},
        404: {"model": Problem, "description": "no such report"},
        422: {"description": "no name"},
    },
)
def page(service: Admitted, name: Annotated[str, Query(description="of the report")]) -> HTMLResponse:
    """A report as a page."""
    path = dict(_reports(service.reports_folder)).get(name)
    if path is None or path.stat().st_size > MOST_BYTES:
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
