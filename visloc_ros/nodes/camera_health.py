"""Problems of a camera's images: why none arrive or can be used, and defects of those that can."""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from statistics import median

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from visloc_ros.core.repeated_images import LEAST_CONTRAST
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.core.types import Image as ImageArray
from visloc_ros.execution.this_computer import overload
from visloc_ros.sources.ros_messages import stamp_from_msg


class CameraHealth:
    """Checks each image and camera_info of one camera, on the topic ``topic``, as remapped."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile, *, are_keyframes: bool) -> None:
        self._node, self._kind, self._qos = node, kind, qos
        self.topic = node.resolve_topic_name(topic)
        self._uses_sim_time = bool(node.get_parameter("use_sim_time").value)
        self._arrivals = ImageHealth(self.topic, time.monotonic(), are_keyframes, kind is CompressedImage)
        self._stamps, self._pictures, self._clock = StampHealth(self._uses_sim_time), PictureHealth(), ClockHealth()

    def image(self, message: Image | CompressedImage) -> None:
        """An image has arrived."""
        self._arrivals.image(time.monotonic(), len(message.data))
        stamp_ns = stamp_from_msg(message.header.stamp)
        if stamp_ns > 0:
            self._stamps.image(stamp_ns, self._node.get_clock().now().nanoseconds)

    def camera_info(self) -> None:
        """A camera_info has arrived."""
        self._arrivals.camera_info(time.monotonic())

    def used(self, frame: Frame) -> None:
        """The newest image can be used."""
        self._arrivals.used()
        self._pictures.image(time.monotonic(), frame.image)

    def unused(self, why: str) -> None:
        """The newest image cannot be used."""
        self._arrivals.unused(time.monotonic(), why)

    def repeated(self) -> None:
        """The newest image is the one before once more."""
        self._arrivals.repeated(time.monotonic())

    def changed(self) -> None:
        """The newest image is another one than that before."""
        self._arrivals.changed()

    @property
    def rate_hz(self) -> float:
        """Images a second, of the last ones."""
        return self._arrivals.rate_hz

    @property
    def problem(self) -> str:
        """Why images do not arrive, with what to do about it; empty if they do."""
        stopped_clock = self._stopped_clock()
        num_publishers = self._node.count_publishers(self.topic)
        problem = self._arrivals.problem(time.monotonic(), num_publishers, overload())
        if problem and stopped_clock:
            return stopped_clock  # a bag or simulator that is paused sends no images either
        return f"{problem} Why: {self._mismatch()}." if problem and self._mismatch() else problem

    @property
    def warning(self) -> str:
        """Defects of usable images, with what to do about it; empty without any."""
        stamps = self._stopped_clock() or self._stamps.warning(self._node.count_publishers("/clock") > 0)
        return stamps or self._pictures.warning(time.monotonic())

    def _stopped_clock(self) -> str:
        if not self._uses_sim_time:
            return ""
        now_ns, num_publishers = self._node.get_clock().now().nanoseconds, self._node.count_publishers("/clock")
        return self._clock.problem(now_ns, time.monotonic(), num_publishers)

    def _mismatch(self) -> str:
        return mismatch(self._node, self.topic, self._kind, self._qos)


STALE_S = 3.0  # without a usable image: no camera of a robot is that slow
FROZEN_S = 0.3  # of one image: a driver that sends each of them twice is not frozen
_WINDOW_S = 5.0  # over which rates are measured
_FEWEST = 10  # camera_infos in the window that prove a rate
_LOST_SHARE = 0.75  # of the camera_infos that images must reach: drivers send both together
_MOST_KEPT = 2000  # arrivals, of two topics: 200 images a second
_ONE_PIECE = 64_000  # bytes: larger messages travel in pieces, of which each may get lost


class ImageHealth:
    """Records arrivals of images and camera_infos, and unusable images; times are of one steady clock.

    Keyframes depend on the camera's motion: none for a while, and fewer than camera_infos, are no problem.
    """

    def __init__(self, topic: str, now_s: float, are_keyframes: bool = False, are_compressed: bool = False) -> None:
        self._topic, self._begin_s, self._are_keyframes = topic, now_s, are_keyframes
        self._are_large_and_raw = not are_compressed  # until one has come
        self._are_compressed = are_compressed
        self._images: deque[float] = deque(maxlen=_MOST_KEPT)
        self._infos: deque[float] = deque(maxlen=_MOST_KEPT)
        self._unused_since_s: float | None = None
        self._why_unused = ""
        self._repeated_since_s: float | None = None

    def image(self, now_s: float, num_bytes: int) -> None:
        """An image has arrived."""
        self._images.append(now_s)
        self._are_large_and_raw = num_bytes > _ONE_PIECE and not self._are_compressed

    def camera_info(self, now_s: float) -> None:
        """A camera_info has arrived."""
        self._infos.append(now_s)

    def used(self) -> None:
        """The newest image can be used."""
        self._unused_since_s = None

    def unused(self, now_s: float, why: str) -> None:
        """The newest image cannot be used."""
        self._unused_since_s = now_s if self._unused_since_s is None else self._unused_since_s
        self._why_unused = why

    def repeated(self, now_s: float) -> None:
        """The newest image is the one before once more."""
        self._repeated_since_s = now_s if self._repeated_since_s is None else self._repeated_since_s

    def changed(self) -> None:
        """The newest image is another one than that before."""
        self._repeated_since_s = None

    @property
    def rate_hz(self) -> float:
        """Images a second, of the last ones."""
        span_s = self._images[-1] - self._images[0] if self._images else 0.0
        return (len(self._images) - 1) / span_s if span_s > 0.0 else 0.0

    def problem(self, now_s: float, num_publishers: int, overloaded: str = "") -> str:
        """The problem, or nothing; ``num_publishers`` is the number of nodes that publish images.

        ``overloaded`` is how an overloaded computer is, in words.
        """
        if not self._images:
            return self._never(num_publishers, overloaded) if now_s - self._begin_s > STALE_S else ""
        silent_s = now_s - self._images[-1]
        if silent_s > STALE_S and not self._are_keyframes:
            return f"No image has come for {silent_s:.0f} s on {self._topic}: is the camera still running?"
        if self._unused_since_s is not None and now_s - self._unused_since_s > STALE_S:
            return f"Images come on {self._topic}, but none can be used: {self._why_unused}"
        if self._repeated_since_s is not None and now_s - self._repeated_since_s > FROZEN_S:
            return (
                f"The same image comes again and again on {self._topic} since {now_s - self._repeated_since_s:.1f} s:"
                " the camera, or its driver, is frozen; restart it. For a simulator whose images have no noise set"
                " camera.is_noiseless."
            )
        return "" if self._are_keyframes else self._too_few(now_s, overloaded)

    def _never(self, num_publishers: int, overloaded: str) -> str:
        if num_publishers == 0:
            return f"No image comes: no node publishes {self._topic}. Start the camera, or set its topic (image_topic)."
        return (
            f"No image comes on {self._topic}, although it is published: its QoS may be another one (camera.qos), or"
            f" {self._cause_of_loss(overloaded)}."
        )

    def _too_few(self, now_s: float, overloaded: str) -> str:
        images, infos = (sum(now_s - one <= _WINDOW_S for one in arrivals) for arrivals in (self._images, self._infos))
        if infos < _FEWEST or images >= _LOST_SHARE * infos or now_s - self._begin_s < _WINDOW_S:
            return ""
        return (
            f"Only {images / _WINDOW_S:.1f} of {infos / _WINDOW_S:.1f} images a second arrive on {self._topic}:"
            f" {self._cause_of_loss(overloaded)}."
        )

    def _cause_of_loss(self, overloaded: str) -> str:
        """Why images get lost, with what to do about it."""
        if overloaded:
            return f"{overloaded}: end other programs, or let the camera send fewer or smaller images"
        if self._are_large_and_raw:
            return (
                "the middleware loses messages so large: use image_transport:=compressed, or"
                " config/fastdds_large_images.xml (docs/choosing_settings.md)"
            )
        return (
            "the computer that sends them does not keep up, or the network loses them: look at its load, and set"
            " camera.qos to reliable"
        )


PERIOD_S = 0.5  # between images that are checked
PATIENCE_S = 3.0  # a camera's exposure adapts within it, and a person seldom stands before a lens for longer
_STEP = 4  # every fourth pixel of every fourth row suffices
_DARK, _BRIGHT = 30, 250  # of 255: below are only shadows, above nothing can be distinguished
_MOST_BRIGHT = 0.5  # share of the pixels
_WIDTH = 640  # that images are reduced to before their detail is compared: noise hides less of it
_LEAST_DETAIL = 0.2  # of a scale, against that of the scale twice as coarse. Natural scenes have about as much in each:
# at the least 0.26 in single images of thirteen places, in motion, too; out of focus by 2.5 pixels 0.08 to 0.2.


class PictureHealth:
    """Checks an image now and then; times are of one steady clock."""

    def __init__(self) -> None:
        self._looked_s = -np.inf
        self._wrong, self._since_s = "", 0.0

    def image(self, now_s: float, image: ImageArray) -> None:
        """An image (H, W) or (H, W, 3) has been decoded."""
        if now_s - self._looked_s < PERIOD_S:
            return
        self._looked_s = now_s
        wrong = _what_is_wrong(image[::_STEP, ::_STEP]) or _what_blurs(image)
        if wrong != self._wrong:
            self._wrong, self._since_s = wrong, now_s

    def warning(self, now_s: float) -> str:
        """A problem that has lasted for a while, or nothing."""
        return self._wrong if now_s - self._since_s > PATIENCE_S else ""


def _what_is_wrong(pixels: ImageArray) -> str:
    if pixels.size == 0:
        return ""
    if np.percentile(pixels, 95) < _DARK:
        return "Images are dark: more light, a longer exposure, or is something before the lens?"
    if np.mean(pixels >= _BRIGHT) > _MOST_BRIGHT:
        return "Images are overexposed: a shorter exposure, or let the camera choose it."
    if float(np.std(pixels)) < LEAST_CONTRAST:
        return "Images show nothing: is something before the lens, or is it out of focus?"
    return ""


def _what_blurs(image: ImageArray) -> str:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width < _WIDTH // 2:
        return ""
    scale = _WIDTH / max(width, _WIDTH) / 2.0
    detail = []
    for _ in range(3):
        size = round(width * scale), max(1, round(height * scale))
        smaller = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        detail.append(float(cv2.Laplacian(smaller, cv2.CV_32F).var()))
        scale /= 2.0
    if all(fine >= _LEAST_DETAIL * coarse for fine, coarse in pairwise(detail)):
        return ""
    return "Images are blurred: focus the lens, or clean it; where the camera moves fast, a shorter exposure."


def mismatch(node: Node, topic: str, message_type: type, qos: QoSProfile) -> str:
    """Why a topic's publishers do not match a subscription of this type and QoS, with what to do; or nothing."""
    publishers = node.get_publishers_info_by_topic(topic)
    expected = f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"
    types = sorted({one.topic_type for one in publishers})
    if types and expected not in types:
        return (
            f"it carries {' and '.join(types)}, not {expected}: choose the other camera.transport, or the right topic"
        )
    fitting = [one for one in publishers if one.topic_type == expected]
    are_best_effort = [one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for one in fitting]
    if fitting and all(are_best_effort) and qos.reliability == ReliabilityPolicy.RELIABLE:
        return "it is published best effort, and this node asks for reliable: set camera.qos to sensor_data"
    return ""


FUTURE_S = 0.05  # largest difference of synchronized clocks of a robot's computers; no image is ahead of time
CLOCK_STEP_S = 0.2  # of /clock at its lowest usual rate: images are ahead of it by up to a step
LATE_S = 1.0  # from an image's stamp to its arrival: ten times what a slow camera and network need
FAR_S = 60.0  # clocks of one time never differ by more: these are different times
_KEPT, _FEWEST_STAMPS = 50, 5  # images behind a verdict


class StampHealth:
    """Compares the stamp of each image with its arrival by the node's clock."""

    def __init__(self, uses_sim_time: bool) -> None:
        self._uses_sim_time = uses_sim_time
        self._ages_s: deque[float] = deque(maxlen=_KEPT)
        self._has_clock = True

    def image(self, stamp_ns: int, now_ns: int) -> None:
        """An image has arrived."""
        self._has_clock = now_ns > 0
        self._ages_s.append((now_ns - stamp_ns) / NANOSECONDS)

    def warning(self, is_clock_published: bool) -> str:
        """The problem, or nothing; ``is_clock_published``: some node publishes /clock."""
        if not self._has_clock and self._uses_sim_time:
            return (
                "use_sim_time is set, but no time comes on /clock: play the bag with --clock, or start the nodes with"
                " use_sim_time:=false."
            )
        if len(self._ages_s) < _FEWEST_STAMPS:
            return ""
        age_s = median(self._ages_s)
        if abs(age_s) > FAR_S:
            return self._far(age_s, is_clock_published)
        if age_s < -(CLOCK_STEP_S if self._uses_sim_time else FUTURE_S):
            return (
                f"Images are stamped {-age_s:.2f} s in the future: the camera's computer has another clock;"
                " synchronize them (chrony)."
            )
        if age_s > LATE_S:
            return (
                f"Images arrive {age_s:.1f} s after they were taken: poses and transforms are as late. Look at the"
                " driver's queue, the network, or synchronize the clocks (chrony)."
            )
        return ""

    def _far(self, age_s: float, is_clock_published: bool) -> str:
        where = f"Images are stamped {_words(abs(age_s))} {'before' if age_s > 0 else 'after'}"
        if self._uses_sim_time:
            return f"{where} the time of /clock: these images are of another recording, or live (use_sim_time:=false)."
        if is_clock_published:
            return f"{where} this computer's clock, and /clock is published: a replay needs use_sim_time:=true."
        return (
            f"{where} this computer's clock: synchronize the clocks (chrony), or play the bag with --clock and start"
            " the nodes with use_sim_time:=true."
        )


class ClockHealth:
    """Notes since when /clock stands still; times are of one steady clock."""

    def __init__(self) -> None:
        self._now_ns, self._since_s = 0, 0.0

    def problem(self, now_ns: int, now_s: float, num_publishers: int) -> str:
        """The problem, or nothing; to be called regularly with the node's time, which is 0 before the first /clock."""
        if now_ns != self._now_ns:
            self._now_ns, self._since_s = now_ns, now_s
        still_s = now_s - self._since_s
        if now_ns == 0 or still_s < STALE_S:
            return ""
        words = f"/clock has stood still for {still_s:.0f} s"
        if num_publishers:
            return f"{words}: let the bag or the simulator go on."
        return (
            f"{words}, and no node publishes it any more: start the bag (--clock) or the simulator again, or the nodes"
            " with use_sim_time:=false."
        )


def _words(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2.0 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
