"""A pose for every frame: odometry, anchors and fusion joined by the localizer.

Run: python examples/01_localize_a_video.py maps/demo_room.tar.gz <video, image folder or bag>
"""

import sys
from pathlib import Path

from visloc_ros.core.map import open_map
from visloc_ros.fusion import Fuser, FusionConfig, InlineAnchors, Localizer
from visloc_ros.localization import AnchorEngine, find_camera
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import RecalibratedSource, open_source

map_path, source_path = map(Path, sys.argv[1:3])
place, source = open_map(map_path), open_source(source_path)
engine = AnchorEngine(place)
camera = find_camera(engine, source)  # odometry and anchors must use the same one
print("camera:", camera)
localizer = Localizer(
    odometry=make_odometry(OdometryConfig()),
    anchors=InlineAnchors(engine, period_s=0.5),  # ThreadedAnchors when frames must not wait
    fuser=Fuser(FusionConfig(), metric=place.manifest.metric),
)
for frame in RecalibratedSource(source, camera):
    estimate = localizer.process(frame)
    if estimate.map_from_camera is None:
        print(frame.name, estimate.state.value, estimate.reason and estimate.reason.value)
    else:
        print(frame.name, estimate.state.value, estimate.map_from_camera.translation)
