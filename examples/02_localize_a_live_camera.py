"""A live camera: frames never wait for the search in the map, which runs in its own thread.

Run: python examples/02_localize_a_live_camera.py maps/office 0          (a webcam by its number)
     python examples/02_localize_a_live_camera.py maps/office query.mp4  (any video that OpenCV opens)
"""

import sys
import time
from pathlib import Path

import cv2

from visloc_ros.core.map import open_map
from visloc_ros.core.types import Frame
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline import Backend, BackendConfig, Localizer, ThreadedAnchors


def main(map_path: Path, device: str) -> None:
    """Print where each frame was seen from."""
    room = open_map(map_path)
    camera = room.images[0].camera  # the camera that the map was made with; give another one its own calibration
    backend = Backend(BackendConfig(), ThreadedAnchors(AnchorEngine(room)))
    localizer = Localizer(make_odometry(OdometryConfig(), live=True), backend, MapTracker(room))
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    period_s = 0.0 if device.isdigit() else 1.0 / capture.get(cv2.CAP_PROP_FPS)  # a file is read as if it were live
    while True:
        begin_s = time.monotonic()
        found, image = capture.read()
        if not found:
            break
        frame = Frame(time.monotonic_ns(), cv2.cvtColor(image, cv2.COLOR_BGR2RGB), camera)
        estimate = localizer.process(frame)
        position = None if estimate.map_from_camera is None else estimate.map_from_camera.translation
        print(estimate.state.value, position if position is not None else estimate.reason and estimate.reason.value)
        time.sleep(max(0.0, period_s - (time.monotonic() - begin_s)))
    backend.close()
    localizer.odometry.close()


if __name__ == "__main__":  # the odometry starts a process, which imports this file again
    main(Path(sys.argv[1]), sys.argv[2])
