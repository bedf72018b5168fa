"""Find single images in a map: what an anchor is, and what a rejection says.

Run: python examples/00_localize_images.py maps/demo_room.tar.gz <video, image folder or bag>
"""

import sys
from pathlib import Path

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

map_path, source_path = map(Path, sys.argv[1:3])
engine = AnchorEngine(open_map(map_path))  # the map and the models are loaded once
for frame in open_source(source_path, SourceConfig(every=10)):
    result = engine.localize(frame)
    if isinstance(result, AnchorPose):
        print(frame.name, result.map_from_camera.translation, f"{result.num_inliers} inliers,", result.calibration)
    else:
        print(frame.name, "not found:", result, ADVICE[result.reason])  # the reason, its numbers, what to try
