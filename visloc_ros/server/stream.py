"""A camera that streams its images: odometry, map tracking and fusion of one client, at its frame rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pycolmap

from visloc_ros.core.calibration import CameraCalibration, guess_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, Estimate, Frame, MapIdentity, Reason, Rejection, State, Support
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline import Backend, BackendConfig, Localizer, ThreadedAnchors
from visloc_ros.server.uploads import CameraOfSize, read_upload

SEARCH_PERIOD_NS = NANOSECONDS // 2  # while searches find the camera: as in the anchor node

Search = Callable[[Frame, SE3 | None], AnchorPose | Rejection]


@dataclass(frozen=True)
class QueuedEngine:
    """The engine of a map behind the queue that all clients share."""

    map_identity: MapIdentity
    search: Search

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Search one frame when its turn comes."""
        return self.search(frame, prior)


class PacedAnchors(ThreadedAnchors):
    """Searches again and again until the camera is found, then twice a second; stamps that run back begin anew.

    ``told`` are the results that nobody has taken from there yet.
    """

    _found_ns: int | None = None

    def __init__(self, engine: QueuedEngine) -> None:
        super().__init__(engine)
        self.told: list[AnchorPose | Rejection] = []

    def is_idle(self, now_ns: int) -> bool:
        """Whether nothing runs, and the last image that was found is long enough ago."""
        is_pausing = self._found_ns is not None and 0 <= now_ns - self._found_ns < SEARCH_PERIOD_NS
        return super().is_idle(now_ns) and not is_pausing

    def finished(self, now_ns: int) -> list[Anchor]:
        """Results since the last call. Raises what the engine raised."""
        results = super().finished(now_ns)
        for anchor in results:
            self._found_ns = anchor.result.stamp_ns if isinstance(anchor.result, AnchorPose) else None
            self.told.append(anchor.result)
        return results


class StreamSession:
    """One client's camera. Frames come from one thread, in the order of their stamps.

    Without ``camera_of`` the intrinsics are estimated first, by images that are found in the map: until they are known
    each image is searched by itself.
    """

    def __init__(self, engine: AnchorEngine, search: Search, camera_of: CameraOfSize | None) -> None:
        self._engine, self._search = engine, search
        self._guess: CameraCalibration | None = None
        self._tracking = None if camera_of is None else _Tracking(engine.map, search, camera_of)

    def process(self, data: bytes, stamp_ns: int) -> dict[str, Any]:
        """The answer to one image, as it was sent."""
        try:
            if self._tracking is not None:
                return self._tracking.process(data, stamp_ns)
            return self._calibrate(data, stamp_ns)
        except (SourceError, CalibrationError) as error:
            return {"state": None, "reason": Reason.BAD_MESSAGE.value, "detail": str(error), "map_from_camera": None}

    def _calibrate(self, data: bytes, stamp_ns: int) -> dict[str, Any]:
        """Search an image of an unknown camera; its intrinsics are taken once further images do not change them."""
        frame = replace(read_upload(data, self._guessed), stamp_ns=stamp_ns)
        assert self._guess is not None
        result = self._search(frame.with_calibration(self._guess), None)
        if self._engine.has_settled(self._guess):
            camera = self._engine.best_calibration(self._guess).camera
            self._tracking = _Tracking(self._engine.map, self._search, lambda *_: camera)
        pose = result.map_from_camera if isinstance(result, AnchorPose) else None
        return {
            "state": (State.UNINITIALIZED if pose is None else State.INITIALIZING).value,
            "reason": result.reason.value if isinstance(result, Rejection) else None,
            "map_from_camera": None if pose is None else pose_to_mapping(pose),
            "covariance": result.covariance.tolist() if isinstance(result, AnchorPose) else None,
            "support": (Support.NONE if pose is None else Support.ANCHOR).value,
            "metric": self._engine.map.manifest.metric,
            "since_fix_s": None if pose is None else 0.0,
            "searches": [search_to_mapping(result)],
            "calibration": self._engine.best_calibration(self._guess).to_mapping(),
        }

    def _guessed(self, width: int, height: int) -> pycolmap.Camera:
        """The camera of the first image's size; another size is then an error."""
        if self._guess is None:
            self._guess = guess_calibration(width, height)
        return self._guess.camera

    def close(self) -> None:
        """Let go of everything. Raises what the search raised."""
        if self._tracking is not None:
            self._tracking.close()


class _Tracking:
    """Odometry, map tracking and fusion of a camera whose intrinsics are known."""

    def __init__(self, place: Map, search: Search, camera_of: CameraOfSize) -> None:
        self._camera_of = camera_of
        self._odometry = make_odometry(OdometryConfig(), live=True)
        self._anchors = PacedAnchors(QueuedEngine(place.identity, search))
        self._backend = Backend(BackendConfig(), self._anchors)
        self._localizer = Localizer(self._odometry, self._backend, MapTracker(place, MapTrackingConfig()))

    def process(self, data: bytes, stamp_ns: int) -> dict[str, Any]:
        """The answer to one image. Raises SourceError, CalibrationError."""
        frame = replace(read_upload(data, self._camera_of), stamp_ns=stamp_ns)
        estimate = self._localizer.process(frame)
        if estimate is None:
            raise SourceError("the stamp is not later than that of the image before")
        told, self._anchors.told = self._anchors.told, []
        return estimate_to_mapping(estimate) | {"searches": [search_to_mapping(result) for result in told]}

    def close(self) -> None:
        """Let go of everything. Raises what the search raised."""
        self._odometry.close()
        self._backend.close()


def search_to_mapping(result: AnchorPose | Rejection) -> dict[str, Any]:
    """What a search gave, in short, as plain values for JSON."""
    if isinstance(result, Rejection):
        return {"stamp_ns": result.stamp_ns, "success": False, "reason": result.reason.value}
    pose = pose_to_mapping(result.map_from_camera)
    return {"stamp_ns": result.stamp_ns, "success": True, "map_from_camera": pose, "num_inliers": result.num_inliers}


def estimate_to_mapping(estimate: Estimate) -> dict[str, Any]:
    """A fused pose, or the reason why there is none, as plain values for JSON."""
    pose, age_ns = estimate.map_from_camera, estimate.age_ns
    return {
        "state": estimate.state.value,
        "reason": None if estimate.reason is None else estimate.reason.value,
        "map_from_camera": None if pose is None else pose_to_mapping(pose),
        "covariance": None if pose is None or estimate.covariance is None else estimate.covariance.tolist(),
        "support": estimate.support.value,
        "metric": estimate.metric,
        "since_fix_s": None if age_ns is None else age_ns / NANOSECONDS,
    }


class NewestImage:
    """One image that waits: a newer one takes its place."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: tuple[int, int, bytes] | None = None
        self._is_closed = False
        self.received = 0
        self.dropped = 0

    def put(self, stamp_ns: int, data: bytes) -> None:
        """Bring an image."""
        with self._changed:
            self.dropped += self._waiting is not None
            self._waiting = self.received, stamp_ns, data
            self.received += 1
            self._changed.notify_all()

    def take(self) -> tuple[int, int, bytes] | None:
        """Wait for the newest image: which one it is, from 0, its stamp, its bytes; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting is not None)
            taken, self._waiting = self._waiting, None
            return None if self._is_closed else taken

    def close(self) -> None:
        """End whoever waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
