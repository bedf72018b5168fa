"""``/``: the web page, which takes its data from this server, and loads nothing from other sites."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# Only this server's files run, and only this server is contacted; pictures of cameras and videos are the page's own.
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
FOLDER = Path(__file__).with_name("page")

router = APIRouter(include_in_schema=False)


@router.get("/")
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
