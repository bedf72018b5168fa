"""A pose for every frame: odometry, map tracking, anchors and fusion joined by the localizer.

Run: python examples/01_localize_a_video.py maps/demo_room.tar.gz <video, image folder or bag>
"""

import sys
from pathlib import Path

from visloc_ros.core.map import open_map
from visloc_ros.localization import AnchorEngine, find_camera
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline import Backend, BackendConfig, InlineAnchors, Localizer
from visloc_ros.sources import RecalibratedSource, open_source

map_path, source_path = map(Path, sys.argv[1:3])
room, source = open_map(map_path), open_source(source_path)
engine = AnchorEngine(room)
camera = find_camera(engine, source)  # odometry and anchors must use the same one
print("camera:", camera)
backend = Backend(BackendConfig(), InlineAnchors(engine, period_s=0.5))
localizer = Localizer(make_odometry(OdometryConfig()), backend, MapTracker(room))
for frame in RecalibratedSource(source, camera):
    estimate = localizer.process(frame)
    if estimate.map_from_camera is None:
        print(frame.name, estimate.state.value, estimate.reason and estimate.reason.value)
    else:
        print(frame.name, estimate.state.value, estimate.map_from_camera.translation)
