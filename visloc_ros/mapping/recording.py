"""The registered images of one source, and the measurements of other sensors beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.measurements import Measurements


@dataclass(frozen=True, eq=False)
class SourceRecording:
    """Stamps of one source's images by their names in the map, and the measurements beside them."""

    stamps_ns: Mapping[str, int]
    measurements: Measurements = field(default_factory=Measurements)

    def path(self, map_from_cameras: Mapping[str, SE3]) -> Trajectory:
        """Poses of the registered images of this recording, in order of time."""
        stamped = {
            stamp_ns: map_from_cameras[name] for name, stamp_ns in self.stamps_ns.items() if name in map_from_cameras
        }
        stamps_ns = sorted(stamped)
        return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(stamped[stamp_ns] for stamp_ns in stamps_ns))
