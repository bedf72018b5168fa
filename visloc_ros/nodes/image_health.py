"""Whether a camera's images come as they should: what is wrong, in words that say what to do about it."""

from __future__ import annotations

from collections import deque

STALE_S = 3.0  # without an image, or with none but those that cannot be used: no camera of a robot is that slow
_WINDOW_S = 5.0  # over which rates are measured
_FEWEST = 10  # camera_infos in the window that prove a rate
_LOST_SHARE = 0.75  # of the camera_infos that images must reach: drivers send both together
_MOST_KEPT = 2000  # arrivals, of two topics: 200 images a second


class ImageHealth:
    """Hears when images and camera_infos arrive, and which images cannot be used; times are of one steady clock.

    Keyframes come as the camera moves: none for a while, and fewer than camera_infos, are as they should.
    """

    def __init__(self, topic: str, now_s: float, are_keyframes: bool = False) -> None:
        self._topic, self._begin_s, self._are_keyframes = topic, now_s, are_keyframes
        self._images: deque[float] = deque(maxlen=_MOST_KEPT)
        self._infos: deque[float] = deque(maxlen=_MOST_KEPT)
        self._unused_since_s: float | None = None
        self._why_unused = ""

    def image(self, now_s: float) -> None:
        """An image has arrived."""
        self._images.append(now_s)

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

    @property
    def rate_hz(self) -> float:
        """Images a second, of the last ones."""
        span_s = self._images[-1] - self._images[0] if self._images else 0.0
        return (len(self._images) - 1) / span_s if span_s > 0.0 else 0.0

    def problem(self, now_s: float, num_publishers: int) -> str:
        """What is wrong, or nothing; ``num_publishers`` is how many send images."""
        if not self._images:
            return self._never(num_publishers) if now_s - self._begin_s > STALE_S else ""
        silent_s = now_s - self._images[-1]
        if silent_s > STALE_S and not self._are_keyframes:
            return f"No image has come for {silent_s:.0f} s on {self._topic}: is the camera still running?"
        if self._unused_since_s is not None and now_s - self._unused_since_s > STALE_S:
            return f"Images come on {self._topic}, but none can be used: {self._why_unused}"
        return "" if self._are_keyframes else self._too_few(now_s)

    def _never(self, num_publishers: int) -> str:
        if num_publishers == 0:
            return f"No image comes: nobody publishes {self._topic}. Start the camera, or give its topic (image_topic)."
        return (
            f"No image comes on {self._topic}, although it is published: its QoS may be another one (camera.qos), or"
            " the middleware loses messages so large (use image_transport:=compressed, see docs/finding_your_way.md)."
        )

    def _too_few(self, now_s: float) -> str:
        images, infos = (sum(now_s - one <= _WINDOW_S for one in arrivals) for arrivals in (self._images, self._infos))
        if infos < _FEWEST or images >= _LOST_SHARE * infos or now_s - self._begin_s < _WINDOW_S:
            return ""
        return (
            f"Only {images / _WINDOW_S:.1f} of {infos / _WINDOW_S:.1f} images a second arrive on {self._topic}: the"
            " middleware loses messages so large. Use image_transport:=compressed, or config/fastdds_large_images.xml."
        )
