"""``WS /stream``: answers each image with a pose, in order; of images that come too fast the newest is taken."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.errors import CalibrationError, DeadlineError, SourceError, VislocError
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3
from visloc_ros.core.newest import Newest
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Reason, Rejection, State
from visloc_ros.localization import AnchorEngine
from visloc_ros.pipeline.live_camera import LiveCamera
from visloc_server.device_queue import QueueFullError
from visloc_server.resident_maps import MemoryShortError, UnknownMapError
from visloc_server.service import MOST_STREAMS, Service, admits_socket, is_foreign
from visloc_server.uploads import CameraOfSize, camera_in_words, read_upload

logger = logging.getLogger(__name__)

SILENCE_S = 30.0  # after which a client counts as gone
REFUSED, BROKEN, BUSY = 1008, 1011, 1013  # codes of RFC 6455 and its registry
_BEGIN = 'begin with a text message like {"map": "office", "camera": "PINHOLE 640 480 fx fy cx cy"}'
_LONGEST_REASON = 123  # bytes of a close frame, of RFC 6455
LATEST_STAMP_NS = (1 << 63) - 1

StampedImage = tuple[int, bytes]

router = APIRouter()


class StreamRequest(BaseModel):
    """The first message of a client."""

    model_config = ConfigDict(extra="forbid")

    map: str = Field(default="", description="name of the map; needed where there are several")
    camera: str = Field(
        default="", description="'MODEL WIDTH HEIGHT PARAMETERS...', as COLMAP writes it; estimated where it is empty"
    )
    token: str = Field(default="", description="of the server, where no header can be set: in a page")


class ImageHead(BaseModel):
    """An optional message about the next image."""

    model_config = ConfigDict(extra="forbid")

    stamp_ns: int = Field(ge=0, le=LATEST_STAMP_NS)


class _RefusedError(Exception):
    """Ends the connection, with the reason for the client."""

    def __init__(self, words: str, code: int = REFUSED) -> None:
        super().__init__(words)
        self.code = code


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """Localize a camera, frame by frame."""
    if is_foreign(socket):
        await socket.close(REFUSED)  # before it is accepted: 403
        return
    await socket.accept()
    try:
        await _serve(socket, socket.app.state.service)
    except _RefusedError as error:
        await _close(socket, str(error), error.code)
    except WebSocketDisconnect:
        pass
    except Exception:
        logger.exception("a stream has failed")
        await _close(socket, "the server has failed: see its log", BROKEN)


async def _serve(socket: WebSocket, service: Service) -> None:
    request = await _read_request(socket, service)
    if service.num_streams >= MOST_STREAMS:
        raise _RefusedError(f"{MOST_STREAMS} streams run already: try again later", BUSY)
    service.num_streams += 1
    try:
        session = await _open(request, service)
        try:
            await _exchange(socket, session, service)
        finally:
            await asyncio.shield(run_in_threadpool(session.close))  # also if this is cancelled: it holds a map
    finally:
        service.num_streams -= 1


async def _read_request(socket: WebSocket, service: Service) -> StreamRequest:
    try:
        text = await _receive(socket)
    except _RefusedError as error:
        raise _RefusedError(f"{error}: {_BEGIN}") from None
    try:
        request = StreamRequest.model_validate_json(text if isinstance(text, str) else "")
    except ValidationError as error:
        raise _RefusedError(f"{_BEGIN}: {error.errors()[0]['msg']}") from error
    if not admits_socket(socket, service, request.token):
        raise _RefusedError("give the server's token")
    return request


async def _open(request: StreamRequest, service: Service) -> StreamSession:
    try:
        camera_of = camera_in_words(request.camera) if request.camera else None
        engine = await service.queue.do(lambda: service.maps.engine(request.map))
    except (CalibrationError, UnknownMapError) as error:
        raise _RefusedError(str(error)) from error
    except MemoryShortError as error:
        raise _RefusedError(str(error), BUSY) from error
    except (QueueFullError, DeadlineError) as error:
        raise _RefusedError("too many requests wait: try again later", BUSY) from error
    except VislocError as error:
        logger.error("%s", error)
        raise _RefusedError("the map cannot be used: see the server's log", BROKEN) from error

    def search(frame: Frame, prior: SE3 | None) -> AnchorPose | Rejection:
        return service.queue.wait_for(lambda: engine.localize(frame, prior))

    return await run_in_threadpool(StreamSession, engine, search, camera_of)


async def _exchange(socket: WebSocket, session: StreamSession, service: Service) -> None:
    """Take images until the client leaves or is silent, and answer them in a second task."""
    images, loop = Newest[StampedImage](), asyncio.get_running_loop()

    def send(answer: dict[str, Any]) -> None:
        service.metrics.streamed.labels(answer["state"] or answer["reason"]).inc()
        asyncio.run_coroutine_threadsafe(socket.send_text(json.dumps(answer)), loop).result()

    answering = asyncio.create_task(run_in_threadpool(_answer, images, session, send))
    try:
        await _take_images(socket, images, answering)
    finally:
        images.close()
        await asyncio.gather(answering, return_exceptions=True)
    answering.result()


async def _take_images(socket: WebSocket, images: Newest[StampedImage], answering: asyncio.Task[None]) -> None:
    stamp_ns = None
    while not answering.done():
        message = await _receive(socket)
        if isinstance(message, bytes):
            images.put((time.time_ns() if stamp_ns is None else stamp_ns, message))
            stamp_ns = None
        else:
            try:
                stamp_ns = ImageHead.model_validate_json(message).stamp_ns
            except ValidationError as error:
                words = 'before an image may come {"stamp_ns": ...}'
                raise _RefusedError(f"{words}: {error.errors()[0]['msg']}") from error


async def _receive(socket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect, _RefusedError for silence."""
    try:
        message = await asyncio.wait_for(socket.receive(), SILENCE_S)
    except asyncio.TimeoutError:
        raise _RefusedError(f"nothing has come for {SILENCE_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    data: bytes | None = message.get("bytes")
    return str(message["text"]) if data is None else data


def _answer(images: Newest[StampedImage], session: StreamSession, send: Callable[[dict[str, Any]], None]) -> None:
    while (taken := images.take()) is not None:
        index, (stamp_ns, data) = taken
        begin_s = time.monotonic()
        answer = session.process(data, stamp_ns)
        took_ms = 1e3 * (time.monotonic() - begin_s)
        send({"frame": index, "stamp_ns": stamp_ns, "dropped": images.dropped, "took_ms": took_ms, **answer})


async def _close(socket: WebSocket, words: str, code: int) -> None:
    """Close the connection with a reason, if the client is still there."""
    try:
        await socket.send_text(json.dumps({"detail": words}))
        await socket.close(code, words.encode()[:_LONGEST_REASON].decode(errors="ignore"))
    except (RuntimeError, WebSocketDisconnect):
        pass  # the client has gone


Search = Callable[[Frame, SE3 | None], AnchorPose | Rejection]


@dataclass(frozen=True)
class QueuedEngine:
    """The engine of a map behind the queue that all clients share."""

    map_identity: MapIdentity
    search: Search

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Search one frame when its turn comes."""
        return self.search(frame, prior)


class StreamSession:
    """One client's camera; without ``camera_of`` its intrinsics are estimated first."""

    def __init__(self, engine: AnchorEngine, search: Search, camera_of: CameraOfSize | None) -> None:
        self._camera = LiveCamera(engine, QueuedEngine(engine.map_identity, search))
        self._camera_of, self._map = camera_of, engine.map_identity
        self._depth = BitDepth()

    def process(self, data: bytes, stamp_ns: int) -> dict[str, Any]:
        """The answer to one image, as it was sent."""
        is_tracked = self._camera.is_calibrated
        try:
            estimate = self._camera.process(replace(self._read(data), stamp_ns=stamp_ns))
        except (SourceError, CalibrationError) as error:
            return _refused(str(error))
        if estimate is None:
            return _refused("the stamp is not later than that of the image before")
        answer = estimate_to_mapping(estimate, self._map.on_earth)
        answer["frame_uuid"] = "" if self._map.frame is None else self._map.frame.uuid
        answer["searches"] = [search_to_mapping(result) for result in self._camera.take_searches()]
        if not is_tracked and self._camera_of is None and self._camera.calibration is not None:
            answer["calibration"] = self._camera.calibration.to_mapping()
        return answer

    def _read(self, data: bytes) -> Frame:
        if self._camera_of is not None:
            return read_upload(data, self._camera_of, self._depth)
        frame = read_upload(data, guess_camera, self._depth)
        return frame.with_calibration(guess_calibration(frame.camera.width, frame.camera.height))

    def close(self) -> None:
        """Release everything. Raises what the search raised."""
        self._camera.close()


def _refused(detail: str) -> dict[str, Any]:
    return {"state": None, "reason": Reason.BAD_MESSAGE.value, "detail": detail, "map_from_camera": None}


def search_to_mapping(result: AnchorPose | Rejection) -> dict[str, Any]:
    """The result of a search in short, as plain values for JSON."""
    if isinstance(result, Rejection):
        return {"stamp_ns": result.stamp_ns, "success": False, "reason": result.reason.value}
    pose = pose_to_mapping(result.map_from_camera)
    return {"stamp_ns": result.stamp_ns, "success": True, "map_from_camera": pose, "num_inliers": result.num_inliers}


def estimate_to_mapping(estimate: Estimate, on_earth: GeoReference | None = None) -> dict[str, Any]:
    """A fused pose, or the reason why there is none, as plain values for JSON."""
    pose, age_ns, geo_pose = estimate.map_from_camera, estimate.age_ns, None
    is_reliable = estimate.state in (State.LOCALIZED, State.DEGRADED)
    if on_earth is not None and is_reliable and pose is not None and estimate.covariance is not None:
        geo_pose = on_earth.geo_pose(pose, estimate.covariance).to_mapping()
    return {
        "state": estimate.state.value,
        "reason": None if estimate.reason is None else estimate.reason.value,
        "map_from_camera": None if pose is None else pose_to_mapping(pose),
        "geo_pose": geo_pose,
        "covariance": None if pose is None or estimate.covariance is None else estimate.covariance.tolist(),
        "support": estimate.support.value,
        "metric": estimate.metric,
        "since_fix_s": None if age_ns is None else age_ns / NANOSECONDS,
    }
