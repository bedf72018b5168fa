"""A camera that streams its images: the answers to one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Reason, Rejection
from visloc_ros.localization import AnchorEngine
from visloc_ros.pipeline.live_camera import LiveCamera
from visloc_ros.server.uploads import CameraOfSize, read_upload

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
        self._camera_of = camera_of

    def process(self, data: bytes, stamp_ns: int) -> dict[str, Any]:
        """The answer to one image, as it was sent."""
        is_tracked = self._camera.is_calibrated
        try:
            estimate = self._camera.process(replace(self._read(data), stamp_ns=stamp_ns))
        except (SourceError, CalibrationError) as error:
            return _refused(str(error))
        if estimate is None:
            return _refused("the stamp is not later than that of the image before")
        answer = estimate_to_mapping(estimate)
        answer["searches"] = [search_to_mapping(result) for result in self._camera.take_searches()]
        if not is_tracked and self._camera_of is None and self._camera.calibration is not None:
            answer["calibration"] = self._camera.calibration.to_mapping()
        return answer

    def _read(self, data: bytes) -> Frame:
        if self._camera_of is not None:
            return read_upload(data, self._camera_of)
        frame = read_upload(data, guess_camera)
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
