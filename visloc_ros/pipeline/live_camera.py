"""A live camera followed in a map: odometry, map tracking, fusion, and searches beside them."""

from __future__ import annotations

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import check_image_size
from visloc_ros.core.clock import StampGuard, StampVerdict
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, Estimate, Frame, Rejection, State
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline.anchors import Engine, ThreadedAnchors
from visloc_ros.pipeline.backend import Backend
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.localizer import Localizer

SEARCH_PERIOD_NS = NANOSECONDS // 2  # while searches find the camera: as in the anchor node


class PacedAnchors(ThreadedAnchors):
    """Searches again and again until the camera is found, then twice a second; stamps that run back start again.

    ``untaken`` are the results that ``take_searches`` has not given yet.
    """

    _found_ns: int | None = None

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.untaken: list[AnchorPose | Rejection] = []

    def is_idle(self, now_ns: int) -> bool:
        """Whether no search runs, and the last image that was found is old enough."""
        is_pausing = self._found_ns is not None and 0 <= now_ns - self._found_ns < SEARCH_PERIOD_NS
        return super().is_idle(now_ns) and not is_pausing

    def finished(self, now_ns: int) -> list[Anchor]:
        """Results since the last call. Raises what the engine raised."""
        results = super().finished(now_ns)
        for anchor in results:
            self._found_ns = anchor.result.stamp_ns if isinstance(anchor.result, AnchorPose) else None
            self.untaken.append(anchor.result)
        return results


class LiveCamera:
    """One camera in a map; frames come from one thread, in the order of their stamps.

    An uncalibrated camera is estimated first, by images that are found in the map one by one: until then the only poses
    are those of ``take_searches``. ``search`` searches the images, by default the engine itself.
    """

    def __init__(self, engine: AnchorEngine, search: Engine | None = None) -> None:
        self._engine, self._search = engine, search or engine
        self._guess: CameraCalibration | None = None
        self._tracking: _Tracking | None = None
        self._searches: list[AnchorPose | Rejection] = []
        self._guard = StampGuard()
        self._is_found = False
        self.calibration: CameraCalibration | None = None
        """The calibration so far; None before the first frame."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the camera's intrinsics will not change any more."""
        return self._tracking is not None

    def process(self, frame: Frame) -> Estimate | None:
        """Give the fused pose of a frame, or why there is none; None where its stamp is not later than the last.

        Raises CalibrationError for an image of another size than the first that was found, or of a calibrated camera.
        """
        if self.calibration is None or (not self._is_found and not _has_size(frame, self.calibration)):
            self._begin(frame)
        assert self.calibration is not None
        height, width = frame.image.shape[:2]
        check_image_size(self.calibration.camera, width, height, "images of one camera keep their size")
        if self._tracking is None:
            is_unordered = self._guard.judge(frame.stamp_ns) is StampVerdict.UNORDERED
            return None if is_unordered else self._calibrate(frame)
        estimate = self._tracking.localizer.process(frame.with_calibration(self.calibration))
        self._searches += self._tracking.take_searches()
        return estimate

    def use(self, engine: AnchorEngine, search: Engine | None = None) -> None:
        """Change to the engine of another map, or of another version; poses go on if its frame is known in the other.

        That is so for versions, and for a map that was aligned; for others the localization starts again.
        """
        self._engine, self._search = engine, search or engine
        if self._tracking is not None:
            self._tracking.use(engine, self._search)

    def take_searches(self) -> list[AnchorPose | Rejection]:
        """Results of searches in the map since the last call."""
        taken, self._searches = self._searches, []
        return taken

    def close(self) -> None:
        """Release everything. Raises what the search raised."""
        if self._tracking is not None:
            self._tracking.close()

    def _begin(self, frame: Frame) -> None:
        self.calibration = frame.calibration or CameraCalibration(frame.camera, CalibrationSource.GIVEN)
        if self.calibration.is_provisional:
            self._guess = self.calibration
        else:
            self._follow(self.calibration)

    def _follow(self, calibration: CameraCalibration) -> None:
        self._is_found = True
        self.calibration, self._tracking = calibration, _Tracking(self._engine, self._search)

    def _calibrate(self, frame: Frame) -> Estimate:
        """Search one image; the intrinsics are taken once further images do not change them."""
        assert self._guess is not None
        result = self._search.localize(frame.with_calibration(self._guess))
        self._searches.append(result)
        self.calibration = self._engine.best_calibration(self._guess)
        if self._engine.has_settled(self._guess):
            self._follow(self.calibration)
        if isinstance(result, Rejection):
            return Estimate(frame.stamp_ns, State.UNINITIALIZED, result.reason)
        self._is_found = True
        return Estimate(frame.stamp_ns, State.INITIALIZING)


def _has_size(frame: Frame, calibration: CameraCalibration) -> bool:
    return frame.image.shape[:2] == (calibration.camera.height, calibration.camera.width)


class _Tracking:
    """The localizer of a camera with known intrinsics."""

    def __init__(self, engine: AnchorEngine, search: Engine) -> None:
        self._odometry = make_odometry(OdometryConfig(), live=True)
        self._anchors = PacedAnchors(search)
        self._backend = Backend(BackendConfig(), self._anchors)
        self._tracker = MapTracker(engine.map, MapTrackingConfig())
        self.localizer = Localizer(self._odometry, self._backend, self._tracker)

    def use(self, engine: AnchorEngine, search: Engine) -> None:
        """Change to another map, or to another version of it."""
        self._anchors.use(search)
        self._backend.use_map(engine.map_identity)
        if engine.map_identity.shares_frame(self._tracker.map):
            self._tracker.update(engine.map)
        else:
            self._tracker = MapTracker(engine.map, MapTrackingConfig())
            self.localizer.map_tracker = self._tracker

    def take_searches(self) -> list[AnchorPose | Rejection]:
        """Results of searches since the last call."""
        results, self._anchors.untaken = self._anchors.untaken, []
        return results

    def close(self) -> None:
        """Release everything. Raises what the search raised."""
        self._odometry.close()
        self._backend.close()
