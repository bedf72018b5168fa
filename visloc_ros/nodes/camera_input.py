"""From image and camera_info topics to frames: checked, and decoded off the executor's thread.

Frames of an uncalibrated camera carry a guess, until a better calibration arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.camera_load import CameraLoad
from visloc_ros.core.clock import StampGuard, StampVerdict
from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import CalibrationError, VislocError
from visloc_ros.core.repeated_images import NOISELESS_MEANING, RepeatedImages, StaleImages, shows_nothing
from visloc_ros.core.timing import ProcessorTime
from visloc_ros.core.types import Frame, Reason
from visloc_ros.core.types import Image as ImageArray
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_health import CameraHealth
from visloc_ros.nodes.conversions import frame_from_msg
from visloc_ros.nodes.guard import RejectedMessages
from visloc_ros.nodes.qos import CAMERA_INFO, IMAGE
from visloc_ros.nodes.worker import Worker
from visloc_ros.sources.calibration import calibration_from_camera_info
from visloc_ros.sources.camera_files import read_given_calibration
from visloc_ros.sources.rectification import RectificationCheck
from visloc_ros.sources.ros_images import encoding_of, refuse_depth
from visloc_ros.sources.ros_messages import stamp_from_msg

# An image and its camera_info arrive separately; the first image waits this long for its camera_info.
CAMERA_INFO_WAIT_S = 0.5
NO_CALIBRATION = "no camera_info with a calibration has come, and camera.calibration_file names none"
WATCH_PERIOD_S, PROBLEM_PERIOD_S = 0.5, 10.0  # of the checks of images, and of reports of their problems
QUEUE_SIZE = 30  # images: a second at camera rate
STAMP_END = 12  # of a serialized message that begins with a header: four bytes of encapsulation, then the stamp


@dataclass(frozen=True)
class CameraInputConfig(Config):
    """Options of receiving images."""

    transport: str = option(
        "raw", "image transport: topic 'image' or 'image/compressed'", choices=("raw", "compressed")
    )
    qos: str = option("sensor_data", "reliability of the image subscription", choices=tuple(IMAGE))
    calibration_file: str = option(
        "", "camera calibration file (COLMAP, ROS, Kalibr and more), which overrides camera_info; empty for none"
    )
    is_rectified: bool = option(
        False,
        "images come rectified, as image_proc gives them: their camera is P of camera_info, not K and D; false goes by "
        "the names of topic and frame (image_rect)",
    )
    is_noiseless: bool = option(False, NOISELESS_MEANING)
    are_keyframes: bool = option(
        False, "images are keyframes of an odometry node, which come as the camera moves: none for a while is no fault"
    )


CAMERA_PARAMETERS = (
    "camera.transport",
    "camera.qos",
    "camera.calibration_file",
    "camera.is_rectified",
    "camera.is_noiseless",
)
"""The options of receiving images that are parameters of every node with a ``camera``."""


class CameraInput:
    """Subscribes to a camera and calls ``on_frame(frame, camera_frame_id)`` in a worker thread.

    ``on_arrived`` gets the stamp of each image at once. Images whose stamp is not ``is_wanted`` are left out; work on
    one whose stamp is not ``is_urgent`` gives way to other programs. If ``load`` skips an image for lack of time, or it
    is FROZEN, the one before once more, ``on_skipped`` gets its stamp and the reason instead, in order with the frames.
    FROZEN is also what shows what an earlier image did, if this ``compares_all`` images: those that are left out or
    skipped, too, since what is sent again may be one of them. Otherwise these are not even decoded; ``on_skipped`` gets
    the frame for which there was no time, too, if it was. When ``queue_size`` images wait, the oldest is dropped.

    Compressed images become grey unless a listener ``wants_colour``. Bad messages are counted in ``rejected`` by reason
    and never fatal. ``camera_frame`` and ``calibration`` are those of the newest image. ``health`` and the log report
    problems of the images. Names of topics begin with ``prefix``. Raises CalibrationError for a calibration file that
    cannot be read.
    """

    def __init__(
        self,
        node: VislocNode[Any],
        config: CameraInputConfig,
        on_frame: Callable[[Frame, str], None],
        queue_size: int = QUEUE_SIZE,
        is_wanted: Callable[[int], bool] = lambda _: True,
        is_urgent: Callable[[int], bool] | None = None,
        load: CameraLoad | None = None,
        on_arrived: Callable[[int], None] = lambda _: None,
        on_skipped: Callable[[int, Reason, Frame | None], None] = lambda *_: None,
        wants_colour: Callable[[], bool] = lambda: True,
        compares_all: bool = False,
        prefix: str = "",
    ) -> None:
        self.rejected = RejectedMessages(node.get_logger())
        self.camera_frame: str | None = None
        self.calibration: CameraCalibration | None = None
        self._logger, self._on_frame, self._is_wanted = node.get_logger(), on_frame, is_wanted
        self._choice = CalibrationChoice(read_given_calibration(config.calibration_file))
        self._camera_info: CameraInfo | None = None
        self._is_rectified = config.is_rectified
        self._known = b""
        self._is_known = threading.Event()
        if config.calibration_file:
            self._is_known.set()
        self._worker: Worker[Image | CompressedImage] = node.worker(
            "image",
            self._handle,
            queue_size,
            None if is_urgent is None else _by_stamp(is_urgent),
        )
        self._load, self._on_arrived, self._on_skipped, self._wants_colour = load, on_arrived, on_skipped, wants_colour
        self.processor = ProcessorTime()
        # Drivers repeat it, and its reliability may differ from the images': this QoS matches either.
        self._take_guarded_camera_info = node.guard.callback("camera_info", self._take_camera_info)
        info_topic, topic = f"{prefix}camera_info", f"{prefix}image"
        self._camera_infos = node.polled_subscription(CameraInfo, info_topic, CAMERA_INFO, from_outside=True)
        kind, topic = (CompressedImage, f"{topic}/compressed") if config.transport == "compressed" else (Image, topic)
        self.health = CameraHealth(
            node,
            kind,
            topic,
            IMAGE[config.qos],
            are_keyframes=config.are_keyframes,
        )
        self._depth, self._repeated = BitDepth(), None if config.is_noiseless else RepeatedImages()
        self._repeated_nothing: bool | None = None  # whether the image that repeats shows nothing
        self._stale, self._guard = StaleImages() if compares_all else None, StampGuard()
        self._rectification = RectificationCheck(None)
        self._had_problem = False
        node.subscription(kind, topic, self._take_image, IMAGE[config.qos], from_outside=True)
        node.timer(WATCH_PERIOD_S, self._watch_images, is_steady=True)

    @property
    def received(self) -> int:
        """Images received."""
        return self._worker.received

    @property
    def dropped(self) -> int:
        """Images dropped or skipped because earlier ones took too long."""
        return self._worker.dropped + (0 if self._load is None else self._load.skipped)

    @property
    def is_late(self) -> bool:
        """Whether a newer image waits for the work on this one."""
        return self._worker.num_waiting > 0

    def learn(self, calibration: CameraCalibration) -> None:
        """Take a calibration that another node has estimated; it is used where the camera has none."""
        self._choice.add_estimate(calibration)

    def _take_image(self, message: Image | CompressedImage) -> None:
        self._take_camera_infos()
        self.health.image(message)
        self._on_arrived(stamp_from_msg(message.header.stamp))
        self._worker.put(message)

    def _watch_images(self) -> None:
        self._take_camera_infos()
        problem = self.health.problem or self.health.warning
        if problem:
            self._logger.warning(problem, throttle_duration_sec=PROBLEM_PERIOD_S)
        elif self._had_problem:
            self._logger.info("images come as they should again")
        self._had_problem = bool(problem)

    def _take_camera_infos(self) -> None:
        """Take the camera_infos that have arrived, with or without images."""
        for serialized in self._camera_infos():
            self.health.camera_info()
            self._take_guarded_camera_info(serialized)

    def _take_camera_info(self, serialized: bytes) -> None:
        """Take a calibration; one comes with every image, and parsing each would cost more than the image does."""
        if serialized[STAMP_END:] == self._known:
            return
        message = deserialize_message(serialized, CameraInfo)
        if self._camera_info is not None and _same_calibration(message, self._camera_info):
            return
        try:
            calibration = calibration_from_camera_info(message, self.health.topic, self._is_rectified)
        except CalibrationError as error:
            self.rejected.note("camera_info", str(error))
            return
        if calibration is not None:
            self._choice.set_own(calibration)
        self._camera_info, self._known = message, serialized[STAMP_END:]
        self._is_known.set()

    def _handle(self, message: Image | CompressedImage) -> None:
        if not self._is_known.wait(CAMERA_INFO_WAIT_S):
            self._is_known.set()  # waited for once
        if stamp_from_msg(message.header.stamp) <= 0:
            self._leave_out("unstamped", "an image has no stamp and was left out")
            return
        stamp_ns = stamp_from_msg(message.header.stamp)
        if self._stale is not None and self._guard.judge(stamp_ns) is StampVerdict.CLOCK_JUMP:
            self._stale.reset()  # a bag begins again
        if self._is_frozen(message):
            self.health.repeated()
            self._on_skipped(stamp_ns, Reason.FROZEN, None)
            return
        self.health.changed()
        if not self._is_wanted(stamp_ns):
            self._unused_frame(message)
            return
        if self._load is not None and self._load.skips(self._worker.num_waiting, time.monotonic()):
            frame, is_stale = self._unused_frame(message)
            self._on_skipped(stamp_ns, Reason.FROZEN if is_stale else Reason.OVERLOADED, frame)
            return
        try:
            refuse_depth(self.health.topic, encoding_of(message))
            with self.processor("decoding"):
                frame = frame_from_msg(message, self._choice.of_images, self._wants_colour(), self._depth)
        except VislocError as error:
            self._leave_out(type(error).__name__, str(error))
            return
        if frame.calibration is not self._rectification.calibration:
            self._rectification = RectificationCheck(frame.calibration)
        self._rectification.add(frame)
        if self._rectification.contradiction:
            self._leave_out("rectification", self._rectification.contradiction)
            return
        if self._is_stale(frame.image):
            self._on_skipped(stamp_ns, Reason.FROZEN, None)
            return
        self.health.used(frame)
        self.camera_frame = message.header.frame_id
        self._say_calibration(frame.calibration)
        self._on_frame(frame, message.header.frame_id)

    def _is_frozen(self, message: Image | CompressedImage) -> bool:
        """Whether an image that shows something is the one before once more."""
        if self._repeated is None or not self._repeated.repeats(np.frombuffer(message.data, dtype=np.uint8)):
            self._repeated_nothing = None
            return False
        if self._repeated_nothing is None:
            frame = self._decoded(message)
            if frame is None:
                return False
            self._repeated_nothing = shows_nothing(frame.image)
        return not self._repeated_nothing

    def _is_stale(self, image: ImageArray) -> bool:
        """Whether an image that shows something shows what an earlier one did."""
        return self._stale is not None and self._stale.is_stale(image) and not shows_nothing(image)

    def _unused_frame(self, message: Image | CompressedImage) -> tuple[Frame | None, bool]:
        """The frame of an image that is left out or skipped, if it is compared, and whether it is stale."""
        frame = None if self._stale is None else self._decoded(message)
        return frame, frame is not None and self._is_stale(frame.image)

    def _decoded(self, message: Image | CompressedImage) -> Frame | None:
        """The frame of an image that is not used; None for a bad one, which counts if it is to be used."""
        try:
            return frame_from_msg(message, self._choice.of_images, False, self._depth)
        except VislocError:
            return None

    def _say_calibration(self, calibration: CameraCalibration | None) -> None:
        """Log once which calibration is used from now on."""
        if calibration is None or calibration is self.calibration:
            return
        self.calibration = calibration
        if calibration.is_provisional:
            self._logger.warning(f"camera: {calibration}; {NO_CALIBRATION}")
        else:
            self._logger.info(f"camera: {calibration}")

    def _leave_out(self, kind: str, text: str) -> None:
        self.health.unused(text)
        self.rejected.note(kind, text)


def _by_stamp(predicate: Callable[[int], bool]) -> Callable[[Image | CompressedImage], bool]:
    """The same predicate for an image's message."""
    return lambda message: predicate(stamp_from_msg(message.header.stamp))


def _same_calibration(a: CameraInfo, b: CameraInfo) -> bool:
    return (
        (a.width, a.height, a.distortion_model, list(a.d), a.binning_x, a.binning_y)
        == (b.width, b.height, b.distortion_model, list(b.d), b.binning_x, b.binning_y)
        and (list(a.k), list(a.p)) == (list(b.k), list(b.p))
        and a.roi == b.roi
    )


_OF_THE_CAMERA = (CalibrationSource.GIVEN, CalibrationSource.RECORDED)


class CalibrationChoice:
    """Chooses the best calibration of one camera: given, its own, estimated by means of a map, guessed.

    A later one from the same source replaces the earlier one.
    """

    def __init__(self, given: CameraCalibration | None = None) -> None:
        self._known = {} if given is None else {given.source: given}
        self._found: CameraCalibration | None = None
        self._guess: CameraCalibration | None = None

    def set_own(self, calibration: CameraCalibration) -> None:
        """Take the calibration in the camera's own CameraInfo."""
        self._known[calibration.source] = calibration

    def add_estimate(self, calibration: CameraCalibration) -> None:
        """Take the estimate of a search, during which the camera's own calibration may have changed."""
        if calibration.source not in _OF_THE_CAMERA:
            self._found = calibration

    def of_images(self, width: int, height: int) -> CameraCalibration:
        """The best calibration for images of this size; where none is known a guess, the same for the same size.

        The camera's own may be for another size, an error of its driver; an estimated one is for its size.
        """
        known = next((self._known[source] for source in _OF_THE_CAMERA if source in self._known), None)
        if known is not None:
            return known
        if self._found is not None and _has_size(self._found, width, height):
            return self._found
        if self._guess is None or not _has_size(self._guess, width, height):
            self._guess = guess_calibration(width, height)
        return self._guess


def _has_size(calibration: CameraCalibration, width: int, height: int) -> bool:
    return (calibration.camera.width, calibration.camera.height) == (width, height)
