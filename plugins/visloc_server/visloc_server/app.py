"""The HTTP interface: the routes, and the status of each refusal."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse

from visloc_ros import __version__
from visloc_ros.core.child_process import DeathError
from visloc_ros.core.errors import CalibrationError, ConfigError, DeadlineError, OutputError, SourceError, VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map_lock import MapBusyError
from visloc_ros.core.watchdog import WATCHDOG
from visloc_ros.localization.rough_pose import rough_pose_in_words
from visloc_server.answers import NO_TOKEN, Health, LocalizeAnswer, Problem
from visloc_server.body_limit import BodyLimit, Limit
from visloc_server.build_route import BUILD_PATH, UPDATE_PATH
from visloc_server.build_route import router as build_router
from visloc_server.config import ServerConfig
from visloc_server.device_queue import ClientBusyError, QueueFullError, SearchRequest
from visloc_server.files_route import router as files_router
from visloc_server.geojson import GEOJSON, geojson_answer, is_wanted
from visloc_server.job import TakenNameError, TooManyJobsError
from visloc_server.map_route import router as map_router
from visloc_server.metrics import CountedResponses
from visloc_server.page_route import PageFiles
from visloc_server.page_route import router as page_router
from visloc_server.resident_maps import MemoryShortError, UnknownMapError
from visloc_server.service import MOST_BODY_BYTES, MOST_VIDEO_BYTES, Admitted, Service, service_of
from visloc_server.stream_route import router as stream_router
from visloc_server.uploads import CameraOfSize, camera_in_words, pinhole
from visloc_server.version_route import router as version_router

logger = logging.getLogger(__name__)

UNIT_TOLERANCE = 1e-2
BEAT_S = 1.0
LONGEST_DETAIL = 500  # characters: an error may repeat what the client sent
IMAGE_LIMIT = Limit(MOST_BODY_BYTES, within_s=120.0)
VIDEO_LIMIT = Limit(MOST_VIDEO_BYTES, within_s=12 * 3600.0)  # at 1.6 Mbit/s

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no form that can be read"},
    **NO_TOKEN,
    404: {"model": Problem, "description": "no map of that name"},
    408: {"model": Problem, "description": "the request did not come in time"},
    413: {"model": Problem, "description": "the request is too long"},
    422: {"description": "no image, or values that cannot be"},
    429: {"model": Problem, "description": "too many requests of this client wait"},
    503: {"model": Problem, "description": "too many requests wait"},
}


Intrinsic = Annotated[float | None, Form(description="of the image as it is stored, in pixels")]
router = APIRouter()


@router.get("/health")
async def health(service: Annotated[Service, Depends(service_of)]) -> Health:
    """Whether the server works."""
    return Health(version=__version__, waiting=service.queue.waiting)


@router.get("/metrics", responses={**NO_TOKEN, 200: {"content": {"text/plain": {}}}})
async def metrics(service: Admitted) -> PlainTextResponse:
    """Counts of searches, streams and refusals, for Prometheus."""
    return PlainTextResponse(service.metrics.text())


@router.post("/localize", responses={**REFUSALS, 200: {"content": {GEOJSON: {}}}}, response_model=LocalizeAnswer)
async def localize(
    request: Request,
    service: Admitted,
    image: Annotated[UploadFile, File(description="JPEG, PNG or HEIC")],
    map: Annotated[str, Form(description="name of the map; needed where there are several")] = "",
    fx: Intrinsic = None,
    fy: Intrinsic = None,
    cx: Intrinsic = None,
    cy: Intrinsic = None,
    camera: Annotated[str, Form(description="instead: 'MODEL WIDTH HEIGHT PARAMETERS...', as COLMAP writes it")] = "",
    prior: Annotated[str, Form(description="predicted map_from_camera, 'qw qx qy qz tx ty tz'")] = "",
    frame_uuid: Annotated[
        str, Form(description="frame of the prior and the position, as answers name it; empty: the map's")
    ] = "",
    inliers: Annotated[bool, Form(description="whether to list the pixels and points that support the pose")] = False,
    position: Annotated[str, Form(description="rough position in the map, 'x y' or 'x y z'; needs its sigma")] = "",
    gps: Annotated[str, Form(description="instead, in a map on the earth: 'latitude longitude' in degrees")] = "",
    position_sigma: Annotated[float | None, Form(description="its standard deviation along each axis, metres")] = None,
    heading: Annotated[
        float | None,
        Form(description="rough heading, degrees clockwise from the map's y axis, on the earth north"),
    ] = None,
    heading_sigma: Annotated[float | None, Form(description="its standard deviation, degrees")] = None,
    text: Annotated[str, Form(description="embedding of a text that the image shows: its numbers")] = "",
) -> LocalizeAnswer | JSONResponse:
    """Find one image in a map. Without intrinsics the focal length is that of its EXIF data, or estimated.

    A pose that contradicts the rough position or heading is rejected. Asked for application/geo+json, the answer is a
    feature on the earth.
    """
    known = rough_pose_in_words(position, gps, position_sigma, heading, heading_sigma, text)
    search = SearchRequest(map, read_camera(camera, fx, fy, cx, cy), read_prior(prior), inliers, known, frame_uuid)
    client = "" if request.client is None else request.client.host
    service.queue.check_room(client)  # before the image is in memory
    data = await image.read()
    with service.metrics.search_seconds.time():
        answer = await service.localize(data, search, client)
    return geojson_answer(answer) if is_wanted(request.headers.get("accept", "")) else answer


def make_app(config: ServerConfig) -> FastAPI:
    """The application; its models are loaded with the first map that is searched."""
    service = Service(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        beating = asyncio.create_task(_beat(service))
        yield
        beating.cancel()
        service.close()

    # FastAPI's pages of documentation would load scripts from other sites; /openapi.json has the same content.
    app = FastAPI(title="visloc", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.include_router(router)
    app.include_router(stream_router)
    app.include_router(map_router)
    app.include_router(build_router)
    app.include_router(version_router)
    app.include_router(files_router)
    app.include_router(page_router)
    app.mount("/page", PageFiles())
    app.add_middleware(BodyLimit, limit=IMAGE_LIMIT, others={BUILD_PATH: VIDEO_LIMIT, UPDATE_PATH: VIDEO_LIMIT})
    if not config.token:  # no page of another site may reach this computer under its own host name (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])
    app.add_middleware(CountedResponses, metrics=service.metrics)  # the outermost
    app.add_exception_handler(QueueFullError, refuse)
    app.add_exception_handler(ClientBusyError, refuse)
    app.add_exception_handler(VislocError, refuse)
    app.add_exception_handler(OSError, refuse_for_system)
    return app


async def _beat(service: Service) -> None:
    """Give signs of life unless the queue is stuck."""
    while True:
        if not service.queue.is_stuck:
            WATCHDOG.beat()
        await asyncio.sleep(BEAT_S)


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Status and message of an error, without internal details of the server."""
    detail = str(error)[:LONGEST_DETAIL]
    if isinstance(error, QueueFullError):
        return JSONResponse({"detail": "too many requests wait: try again later"}, 503, {"Retry-After": "5"})
    if isinstance(error, ClientBusyError):
        words = "too many of your requests wait: send the next one when one is answered"
        return JSONResponse({"detail": words}, 429, {"Retry-After": "1"})
    if isinstance(error, (DeadlineError, MemoryShortError)):
        return JSONResponse({"detail": detail}, 503, {"Retry-After": "30"})
    if isinstance(error, DeathError):
        logger.error("%s", error)
        return JSONResponse({"detail": "the search has ended its process twice: do not send this image again"}, 500)
    if isinstance(error, TooManyJobsError):
        return JSONResponse({"detail": detail}, 503, {"Retry-After": "600"})
    if isinstance(error, TakenNameError):
        return JSONResponse({"detail": detail}, 409)
    if isinstance(error, MapBusyError):
        return JSONResponse({"detail": "another process is changing this map: try again later"}, 409)
    if isinstance(error, OutputError):
        return JSONResponse({"detail": detail}, 507)
    if isinstance(error, UnknownMapError):
        return JSONResponse({"detail": detail}, 404)
    if isinstance(error, (SourceError, CalibrationError, ConfigError)):
        return JSONResponse({"detail": detail}, 422)
    logger.error("%s", error)
    return JSONResponse({"detail": "the map cannot be used: see the server's log"}, 500)


async def refuse_for_system(_: Request, error: Exception) -> JSONResponse:
    """Errors of the system: a full disk, or others, of which only the log has details."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JSONResponse({"detail": "the server's disk is full"}, 507)
    logger.error("the system has refused a request", exc_info=error)
    return JSONResponse({"detail": "the server has failed: see its log"}, 500)


def read_camera(text: str, *intrinsics: float | None) -> CameraOfSize | None:
    """The camera of a request, if it gives one. Raises ConfigError, CalibrationError."""
    known = [value for value in intrinsics if value is not None]
    if len(known) not in (0, 4) or (known and text):
        raise ConfigError("give all of fx, fy, cx and cy, or camera, or none of these")
    if text:
        return camera_in_words(text)
    return pinhole(*known) if known else None


def read_prior(text: str) -> SE3 | None:
    """A predicted pose. Raises ConfigError."""
    if not text:
        return None
    words = text.replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise ConfigError(f"prior is not 'qw qx qy qz tx ty tz': {error}") from error
    norm = sum(value * value for value in values[:4]) ** 0.5
    is_finite = all(abs(value) < float("inf") for value in values)
    if len(values) != 7 or not is_finite or not abs(norm - 1.0) <= UNIT_TOLERANCE:
        raise ConfigError("prior is not 'qw qx qy qz tx ty tz' with a unit quaternion")
    return SE3.from_quaternion(values[:4], values[4:])
