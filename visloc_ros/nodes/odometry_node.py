"""Tracks every frame of a camera, and publishes ``odometry_status`` with the unscaled pose, and keyframes.

``visual_odom`` carries the same pose as a standard message, for viewers; ``loop_closure`` reports a place that is seen
again. Where a map is given its points are followed in the same images, which are received and decoded once for both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera_load import CameraLoad
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.map import Map
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.map_tracking import MapTracker, RigMapTracker
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import camera_from_msg
from visloc_ros.nodes.diagnostics import processor_values, publish_diagnostics
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.keyframe_output import KeyframeConfig, KeyframeOutput
from visloc_ros.nodes.map_tracking import FollowedMap, MapTrackingNodeConfig, RemoteBackend
from visloc_ros.nodes.qos import LATCHED
from visloc_ros.nodes.rig_images import RigImages
from visloc_ros.nodes.rig_input import CAMERAS_MEANING, MAIN, camera_options, further_cameras, topic_prefix
from visloc_ros.nodes.sensor_input import SensorInput
from visloc_ros.nodes.tracking_output import TrackingOutput
from visloc_ros.odometry import OdometryConfig, make_odometry, plugin_parameters
from visloc_ros.pipeline import Localizer
from visloc_ros.pipeline.leading_camera import LeadingCamera, num_points, sees

FOUND_CAMERA = "anchor_camera_info"
RELIEF = "leave the nodes more processor time, or send fewer or smaller images."
CONTRADICTIONS = 3  # poses of a rig in a row that contradict odometry: one may be by chance
GUESS_AFTER_S = 10.0  # an anchor node takes that long to start on a busy computer


@dataclass(frozen=True)
class OdometryNodeConfig(Config):
    """Parameters of the odometry node."""

    camera: CameraInputConfig = section(CameraInputConfig)
    cameras: str = option("", CAMERAS_MEANING)
    odometry: OdometryConfig = section(OdometryConfig)
    keyframe: KeyframeConfig = section(KeyframeConfig)
    map_tracking: MapTrackingNodeConfig = section(MapTrackingNodeConfig)


class OdometryNode(VislocNode[OdometryNodeConfig]):
    """Passes each image, and the measurements of an IMU and wheels, to the localizer.

    Frames of an uncalibrated camera wait until the anchor node has estimated its calibration; without such a node the
    guess is used.

    Of several cameras it follows one, as long as that sees something.

    With a ``fusion`` node in the same process frames go straight on into its back end while it is active.
    """

    default_name = "odometry_node"
    config_type = OdometryNodeConfig
    parameter_names = (
        *CAMERA_PARAMETERS,
        "cameras",
        "odometry.backend",
        "odometry.klt.readout_ms",
        "odometry.imu.time_offset",
        "odometry.depth_model",
        "keyframe",
        "map_tracking.enabled",
        "map_tracking.map_path",
        "map_tracking.map_frame",
    )

    @classmethod
    def plugin_parameter_names(cls) -> tuple[str, ...]:
        """Those of odometries that plug-ins add."""
        return tuple(f"odometry.{name}" for name in plugin_parameters())

    def __init__(self, fusion: FusionNode | None = None) -> None:
        super().__init__()
        self._fusion = fusion

    def configure(self) -> None:
        """Load the map, make the odometry and the publishers."""
        self._cameras = further_cameras(self.config.cameras)
        tracking = self.config.map_tracking
        is_wanted = tracking.enabled and tracking.map_path
        self._followed = FollowedMap(Path(tracking.map_path), self.get_logger()) if is_wanted else None
        self._odometry = make_odometry(self.config.odometry, live=True)
        self.undo(self._odometry.close)
        self._reset_asked = threading.Event()
        self._output = TrackingOutput(self, tracking.map_frame, self._followed is not None)
        self.service(Trigger, "~/reset_odometry", self._ask_for_reset)

    def activate(self) -> None:
        """Start tracking."""
        self.undo(self._odometry.reset)  # done last, when tracking has ended
        self._leading, self._followed_camera = LeadingCamera(MAIN), MAIN
        self._rig: RigMapTracker | None = None
        self._images = self._images_of_rig() if self._cameras and self._followed is not None else None
        tracker = None if self._followed is None else self._make_tracker(self._followed.map)
        self._remote = RemoteBackend(self, tracker if self._fusion is None else None)
        self._output.keyframes = KeyframeOutput(self, self.config.keyframe)
        self._processing = threading.Lock()  # each camera has a thread
        self._loads = {name: CameraLoad() for name in (MAIN, *self._cameras)}
        self._inputs = {name: self._receive(name) for name in self._loads}
        self._begin_s: float | None = None  # when the first frame came
        self.subscription(CameraInfo, FOUND_CAMERA, self._take_found_camera, LATCHED)
        self._localizer = Localizer(
            self._odometry,
            self._remote,
            tracker,
            self._output,
            is_behind=lambda: self._input.is_late or self._load.is_overloaded,
            is_compared=True,
        )
        self._sensors = SensorInput(self, self._odometry, lambda: self._input.camera_frame)
        publish_diagnostics(self, self._report)

    def _receive(self, name: str) -> CameraInput:
        return CameraInput(
            self,
            camera_options(self.config.camera, name),
            partial(self._process, name),
            is_wanted=partial(self._is_wanted, name),
            load=self._loads[name],
            on_arrived=partial(self._leading.arrived, name),
            on_skipped=partial(self._skip, name),
            wants_colour=self._wants_colour,
            compares_all=True,
            prefix=topic_prefix(name),
        )

    def _images_of_rig(self) -> RigImages:
        # Another camera may be to lead while an image of the one before is worked on.
        return RigImages(
            self,
            lambda: self._followed_camera,
            lambda name: self._inputs[name].camera_frame,
            self._leading.is_sending,
        )

    def _is_wanted(self, name: str, stamp_ns: int) -> bool:
        """Whether an image is decoded: for odometry, or to follow map points in it.

        Where there is no time for all, those of other cameras count less than odometry.
        """
        if not self._cameras or self._takes(name, stamp_ns):
            return True
        return self._rig is not None and (not self._load.is_overloaded or self._rig.needs(name, stamp_ns))

    def _takes(self, name: str, stamp_ns: int) -> bool:
        """Whether odometry follows an image: a camera that contradicted the others leads if these show nothing."""
        if self._rig is None or self._rig.is_trusted(name):
            return self._leading.takes(name, stamp_ns)
        return self._leading.takes(name, stamp_ns, may_lead=self._rig.shows_motion(name), is_last_resort=True)

    @property
    def _load(self) -> CameraLoad:
        """Whether the computer keeps up with the camera that is followed."""
        return self._loads[self._leading.name]

    @property
    def _input(self) -> CameraInput:
        """The camera that is followed."""
        return self._inputs[self._leading.name]

    def _process(self, name: str, frame: Frame, camera_frame: str) -> None:
        if self._images is not None:
            self._images.add(name, frame)
        if name != self._leading.name and not self._leading.is_missing(name, frame.stamp_ns):
            return
        with self._processing:
            if name == self._leading.name:
                self._process_next(name, frame, camera_frame)
            else:
                self._follow_others(name, frame.stamp_ns)

    def _follow_others(self, name: str, stamp_ns: int) -> None:
        """Publish the pose by another camera while the leading one sends none."""
        camera_frame = self._input.camera_frame
        if camera_frame is None or name == self._followed_camera:
            return
        self._output.set_input(camera_frame, self._received, self._input.dropped)
        with self._backend_in_use(camera_frame, stamp_ns):
            self._localizer.follow_others(stamp_ns)

    def _process_next(self, name: str, frame: Frame, camera_frame: str) -> None:
        if name != self._followed_camera:
            self._followed_camera = name
            self._localizer.restart_odometry()  # the map tracker follows points in its images already
            self._remote.follow_camera(camera_frame, frame.stamp_ns)
        if self._reset_asked.is_set():  # done here, between two frames, since tracking runs in another thread
            self._reset_asked.clear()
            self._odometry.reset()
        self._follow_other_map()
        self._output.set_input(camera_frame, self._received, self._input.dropped)
        with self._backend_in_use(camera_frame, frame.stamp_ns):
            if self._awaits_calibration(frame):
                self._localizer.miss(frame, Reason.UNKNOWN_INTRINSICS)
            else:
                self._localizer.process(frame)
        self._note_sight(name, frame.stamp_ns)
        self._give_up_contradicted(name)

    def _note_sight(self, name: str, stamp_ns: int) -> None:
        """Let another camera lead soon if this one sees nothing."""
        last, is_outdone = self._output.statistics.last, self._rig is not None and self._rig.is_outdone
        if last is None or not sees(last) or (is_outdone and isinstance(last, Rejection)):
            self._leading.missed(name)
        elif is_outdone:
            self._leading.outdone(name, num_points(last))
        else:
            self._leading.tracked(name, stamp_ns, num_points(last))

    def _give_up_contradicted(self, name: str) -> None:
        """Let another camera lead at once if this one contradicts the others.

        If it sees the map points as they do, its odometry alone is wrong, and begins again.
        """
        if self._rig is None:
            return
        if self._localizer.disagreements >= CONTRADICTIONS and self._rig.is_outdone:
            self._rig.distrust(name)
        elif self._localizer.disagreements >= CONTRADICTIONS:
            self._localizer.restart_odometry()
        if not self._rig.is_trusted(name):
            self._leading.give_up(name)

    def _wants_colour(self) -> bool:
        keyframes = self._output.keyframes
        return self.config.odometry.uses_colour or (keyframes is not None and keyframes.has_subscribers)

    @property
    def _received(self) -> int:
        """Images received, of all cameras."""
        return sum(one.received for one in self._inputs.values())

    def _skip(self, name: str, stamp_ns: int, reason: Reason, frame: Frame | None) -> None:
        if name != self._leading.name:
            return
        with self._processing:
            if name != self._followed_camera:
                return
            camera_frame = self._input.camera_frame or ""
            self._output.set_input(camera_frame, self._received, self._input.dropped)
            if reason is Reason.FROZEN:
                self._leading.missed(name)
            else:
                self._leading.skipped(name, stamp_ns)
            with self._backend_in_use(camera_frame, stamp_ns):
                self._localizer.skip(stamp_ns, reason, None if frame is None or _is_guessed(frame) else frame)

    def _follow_other_map(self) -> None:
        """Follow the points of another version of the map, or of the map that the anchor node has loaded meanwhile."""
        other = None if self._followed is None else self._followed.take(self._localizer.backend.map)
        if other is None:
            return
        if other.identity.shares_frame(self._tracker.map):
            self._tracker.update(other)
            return
        self._localizer.map_tracker = self._make_tracker(other)
        if self._fusion is None:
            self._remote.tracker = self._tracker

    def _make_tracker(self, map_: Map) -> MapTracker | RigMapTracker:
        config = self.config.map_tracking
        if self._images is None:
            self._tracker: MapTracker | RigMapTracker = MapTracker(map_, config)
        else:
            self._tracker = self._rig = RigMapTracker(map_, config, self._images)
        return self._tracker

    def _awaits_calibration(self, frame: Frame) -> bool:
        """Whether a frame's camera is a guess that an anchor node may improve."""
        self._begin_s = self._begin_s or time.monotonic()
        if not _is_guessed(frame):
            return False
        return time.monotonic() - self._begin_s < GUESS_AFTER_S or self.count_publishers(FOUND_CAMERA) > 0

    def _take_found_camera(self, message: CameraInfo) -> None:
        self._inputs[MAIN].learn(CameraCalibration(camera_from_msg(message), CalibrationSource.ESTIMATED))

    @contextmanager
    def _backend_in_use(self, camera_frame: str, stamp_ns: int) -> Iterator[None]:
        """Give the localizer the fusion node's back end while that is active in this process."""
        with nullcontext() if self._fusion is None else self._fusion.lend_backend(camera_frame, stamp_ns) as lent:
            self._localizer.backend = lent or self._remote
            yield

    def _ask_for_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_asked.set()
        response.success, response.message = True, "a new segment starts with the next frame"
        self.get_logger().info(f"reset_odometry: {response.message}")
        return response

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {"received": self._received, "dropped": self._input.dropped}
        values |= {**self._input.rejected, **self._localizer.refused, **self._sensors.rejected}
        values |= {**self._odometry.counts, **self._output.statistics.values()}
        values["camera"] = self._input.calibration or "not known yet"
        if self._cameras:
            values["leads"] = self._leading.name
        values["keyframes sent"] = self._output.keyframes_sent
        shares = {**self._input.processor.take_shares(), **self._localizer.processor.take_shares()}
        values |= processor_values(shares)
        if self._followed is not None:
            tracking = {
                "map": self._followed.map.name,
                "skipped": self._localizer.skipped,
                **self._output.tracking_outcomes,
            }
            tracking |= {**self._localizer.outcomes, **self._remote.outcomes}
            tracking |= {"problem": self._followed.problem} if self._followed.problem else {}
            values |= {f"map tracking: {what}": value for what, value in tracking.items()}
        return *self._judge(self._output.statistics.last), values

    def _judge(self, last: OdometryPose | Rejection | None) -> tuple[str, str]:
        """Level and message of the diagnostics."""
        if self._input.health.problem:
            return "error", self._input.health.problem
        if self._odometry.problem:
            return "error", self._odometry.problem
        if last is None:
            return "warn", "no frame tracked yet"
        if isinstance(last, Rejection) and last.reason is Reason.UNKNOWN_INTRINSICS:
            return "warn", "Waiting: the camera is not calibrated, and the anchor node has not found its focal length."
        if isinstance(last, Rejection):
            return "warn", f"Lost! {last} {self._input.health.warning}".rstrip()
        if self._followed is not None and self._followed.problem:
            return "warn", f"Tracking, but {self._followed.problem}."
        if self._load.words:
            return "warn", f"Tracking, but {self._load.words}: {RELIEF}"
        if self._input.health.warning:
            return "warn", f"Tracking, but: {self._input.health.warning}"
        if self._input.calibration is not None and self._input.calibration.is_provisional:
            return "warn", "Tracking with a guessed focal length: calibrate the camera."
        if not self._odometry.gyroscope_is_trusted:
            return "warn", "Tracking, but the gyroscope contradicts the images: check its axes and its clock."
        if self._sensors.rejected:
            return "warn", f"Tracking, but not all sensors are used: {', '.join(self._sensors.rejected)}."
        return "ok", "Tracking."


def _is_guessed(frame: Frame) -> bool:
    return frame.calibration is not None and frame.calibration.is_provisional


def main() -> None:
    """Run the node."""
    run(OdometryNode)


if __name__ == "__main__":
    main()
