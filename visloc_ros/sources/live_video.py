"""Live images of a camera: a webcam, a network stream, or a video file at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.calibration import guess_calibration
from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import check_name
from visloc_ros.core.newest import Newest
from visloc_ros.core.types import Frame
from visloc_ros.sources.base import SourceConfig
from visloc_ros.sources.rectification import checked
from visloc_ros.sources.video_file import check_frames

_NS_PER_MS = 1_000_000


class LiveVideo:
    """Gives the newest image, stamped at its arrival, at each request; images that are not requested in time are lost.

    ``address`` is a number (the webcams of the computer, from 0), a device such as /dev/video0, the address of a stream
    (rtsp, http), or a video file. Iteration ends with the stream. Raises SourceError without images.
    """

    def __init__(self, address: str, config: SourceConfig | None = None) -> None:
        path = Path(address)
        check_name(path, SourceError)
        self._address, self._is_file = address, path.is_file()
        if self._is_file:
            check_frames(path)
        self._capture = cv2.VideoCapture(int(address) if address.isdecimal() else address)
        done, first = self._capture.read()
        if not done or first is None:
            self._capture.release()
            raise SourceError(f"no image comes from '{address}': give a webcam's number, a device, a stream or a video")
        height, width = first.shape[:2]
        self.calibration = (config or SourceConfig()).read_calibration() or guess_calibration(width, height)
        check_image_size(self.calibration.camera, width, height)
        self._images = Newest[tuple[int, NDArray[np.uint8]]]()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="visloc camera", daemon=True)

    @property
    def dropped(self) -> int:
        """How many images were lost."""
        return self._images.dropped

    def __enter__(self) -> LiveVideo:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed.set()
        self._images.close()
        self._thread.join()
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        return checked(self._take_frames(), ahead_bytes=0)

    def _take_frames(self) -> Iterator[Frame]:
        while (taken := self._images.take()) is not None:
            index, (stamp_ns, image) = taken
            yield Frame(stamp_ns, image, self.calibration.camera, f"frame-{index:06d}", self.calibration)

    def _read(self) -> None:
        begin_ns = time.monotonic_ns()
        while not self._is_closed.is_set():
            done, image = self._capture.read()
            if not done:
                break
            stamp_ns = time.monotonic_ns() - begin_ns
            if self._is_file:
                stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS)
                self._is_closed.wait((begin_ns + stamp_ns - time.monotonic_ns()) * 1e-9)
            self._images.put((stamp_ns, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)))
        self._images.end()
