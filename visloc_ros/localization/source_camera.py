"""The camera of a recording, determined once before its frames are used."""

from __future__ import annotations

from itertools import islice

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.sources import FrameSource

_TRIES = 30


def find_camera(engine: AnchorEngine | MultiMapEngine, source: FrameSource) -> CameraCalibration:
    """The calibration of a source: as given or recorded, else estimated by the map from frames that are found in it.

    Frames from all over the source are searched until further ones would not change the estimate; where none is found
    the source's guess stays.
    """
    if source.calibration.is_provisional:
        for frame in islice(source, 0, None, max(1, len(source) // _TRIES)):
            engine.localize(frame)
            if engine.has_settled(source.calibration):
                break
    return engine.best_calibration(source.calibration)
