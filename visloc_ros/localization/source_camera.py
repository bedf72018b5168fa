"""The camera of a recording, decided once before its frames are used in earnest."""

from __future__ import annotations

from itertools import islice

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.sources import FrameSource

_TRIES = 30


def find_camera(engine: AnchorEngine | MultiMapEngine, source: FrameSource) -> CameraCalibration:
    """How the camera of a source is known: as given or recorded, else by the map and by frames that are found in it.

    Frames from all over the source are looked for until further ones would not change the answer; where none is found
    it stays what the source says, a guess.
    """
    if source.calibration.is_provisional:
        for frame in islice(source, 0, None, max(1, len(source) // _TRIES)):
            engine.localize(frame)
            if engine.has_settled(source.calibration):
                break
    return engine.best_calibration(source.calibration)
