"""``/reference/build``, ``update`` and ``jobs``: maps are built and updated by uploaded recordings, step by step."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from visloc_server.answers import NO_TOKEN, JobStatus, Problem
from visloc_server.job import OPEN, Job, JobKind
from visloc_server.service import Admitted, Service, admits_socket, from_here, is_foreign

BUILD_PATH, UPDATE_PATH = "/reference/build", "/reference/update"
SPACE = 2  # times the recording, for a map and temporary files
CHUNK_BYTES = 1 << 20
LOOK_S = 0.2
UNKNOWN_JOB = "there is no job of that id: GET /reference/jobs lists those that are"

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no form that can be read, or a recording that did not come whole"},
    403: {"model": Problem, "description": "asked by a page of another site"},
    404: {"model": Problem, "description": "no job of that id, or no map of that name"},
    409: {"model": Problem, "description": "there is a map of that name"},
    413: {"model": Problem, "description": "the recording is too long"},
    422: {"description": "no name for a map, or no recording"},
    503: {"model": Problem, "description": "too many maps wait to be built or updated"},
    507: {"model": Problem, "description": "the disk is too full"},
}

UPDATE_REFUSALS = {**REFUSALS, 500: {"model": Problem, "description": "the map is broken"}}
del UPDATE_REFUSALS[409]

_RECORDING = {"type": "string", "format": "binary"}
BODIES: dict[str, Any] = {
    "application/octet-stream": {"schema": _RECORDING},
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"name": {"type": "string"}, "file": _RECORDING}}
    },
}


router = APIRouter(responses=NO_TOKEN)


Name = Annotated[str, Query(description="of the map: letters, digits, '-' and '_'")]
FileName = Annotated[str, Query(description="name of the recording, which gives its format")]
_OPTIONS: dict[str, Any] = {
    "status_code": 202,
    "dependencies": [Depends(from_here)],
    "openapi_extra": {"requestBody": {"required": True, "content": BODIES}},
}


@router.post(BUILD_PATH, responses=REFUSALS, **_OPTIONS)
async def build(request: Request, service: Admitted, name: Name = "", file: FileName = "video.mp4") -> JobStatus:
    """Build a map of a video or bag, the body of the request, or a file in a form with the field ``name``."""
    return await _uploaded(request, service, JobKind.BUILD, name, file)


@router.post(UPDATE_PATH, responses=UPDATE_REFUSALS, **_OPTIONS)
async def update(request: Request, service: Admitted, name: Name = "", file: FileName = "video.mp4") -> JobStatus:
    """Update a map by a recording made in it, which comes as for a build; the map stays if it teaches nothing."""
    return await _uploaded(request, service, JobKind.UPDATE, name, file)


async def _uploaded(request: Request, service: Service, kind: JobKind, name: str, file: str) -> JobStatus:
    try:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await _take(service, kind, name, file, request, request.stream())
        _check_room(Path(tempfile.gettempdir()), request)  # forms are kept there until they are whole
        async with request.form(max_files=1) as form:
            upload = next((part for part in form.values() if isinstance(part, UploadFile)), None)
            if upload is None:
                raise HTTPException(422, "the form has no video: curl -F name=office -F file=@walk.mp4")
            name, file = str(form.get("name", name)), upload.filename or file
            return await _take(service, kind, name, file, request, _chunks(upload))
    except ClientDisconnect:
        raise HTTPException(400, "the recording did not come whole") from None


async def _take(
    service: Service, kind: JobKind, name: str, file: str, request: Request, chunks: AsyncIterable[bytes]
) -> JobStatus:
    if kind is JobKind.UPDATE:
        await run_in_threadpool(service.maps.folder_of, name)
    file_name = await run_in_threadpool(service.jobs.check, name, file, kind)
    _check_room(service.jobs.folder, request)
    upload = service.jobs.new_upload(file_name)
    try:
        await _write(chunks, upload)
        return JobStatus.of(await run_in_threadpool(service.jobs.add, upload, name, kind))
    except BaseException:
        service.jobs.drop(upload)
        raise


def _check_room(folder: Path, request: Request) -> None:
    if shutil.disk_usage(folder).free < SPACE * int(request.headers.get("content-length", "0")):
        raise HTTPException(507, "the server's disk is too full for this recording")


async def _chunks(upload: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await upload.read(CHUNK_BYTES):
        yield chunk


async def _write(chunks: AsyncIterable[bytes], upload: Path) -> None:
    with upload.open("wb") as file:
        async for chunk in chunks:
            await run_in_threadpool(file.write, chunk)
        if not file.tell():
            raise HTTPException(422, "the request has no body: send the recording's bytes, as curl -T does")


@router.get("/reference/jobs")
def jobs(service: Admitted) -> list[JobStatus]:
    """All requested builds and updates, the newest first."""
    return [JobStatus.of(job) for job in service.jobs.list()]


@router.get("/reference/jobs/{job_id}", responses={404: REFUSALS[404]})
def job(service: Admitted, job_id: str) -> JobStatus:
    """The state of one."""
    return JobStatus.of(_known(service.jobs.get(job_id)))


@router.delete(
    "/reference/jobs/{job_id}", dependencies=[Depends(from_here)], responses={one: REFUSALS[one] for one in (403, 404)}
)
def cancel(service: Admitted, job_id: str) -> JobStatus:
    """Cancel one, also while it is done; one that has ended stays as it is."""
    return JobStatus.of(_known(service.jobs.cancel(job_id)))


def _known(job: Job | None) -> Job:
    if job is None:
        raise HTTPException(404, UNKNOWN_JOB)
    return job


@router.websocket("/reference/jobs/{job_id}/progress")
async def progress(socket: WebSocket, job_id: str) -> None:
    """The same whenever it changes, until the job has ended."""
    service: Service = socket.app.state.service
    if is_foreign(socket) or not admits_socket(socket, service):
        await socket.close(1008)  # before it is accepted: 403
        return
    await socket.accept()
    sent = None
    try:
        while True:
            now = await run_in_threadpool(service.jobs.get, job_id)
            if now is None:
                await socket.close(1008, UNKNOWN_JOB)
                return
            if now != sent:
                await socket.send_text(JobStatus.of(now).model_dump_json())
                sent = now
            if now.state not in OPEN:
                await socket.close()
                return
            await asyncio.sleep(LOOK_S)
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client has gone
