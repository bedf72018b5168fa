"""When a frame becomes a keyframe: it sees enough that is new, from far enough away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.local_map import Keyframe, rows_of
from visloc_ros.odometry.klt.tracking import Features
from visloc_ros.odometry.klt.two_view import bearings

_PARALLAX_DEG = 2.0  # twice what a two-view start needs: new landmarks have a depth at once
_OVERLAP = 0.55  # share of the features still followed below which too few landmarks would join two keyframes
_OVERLAP_UNSUPPORTED = 0.75  # the same while most features have no known depth: new depths must come before old ones go
_SUPPORTED = 0.5  # share of the features whose depths are known


@dataclass(frozen=True)
class KeyframePolicy:
    """Decides by parallax to the last keyframe and by overlap with it."""

    config: KltConfig

    def wants(self, keyframe: Keyframe, features: Features, camera_from_odom: SE3, num_supporting: int) -> bool:
        """Whether the frame with these features should follow ``keyframe`` as the next one.

        ``num_supporting`` of them are landmarks whose depths are known by parallax.
        """
        rows, shared = rows_of(keyframe.features.ids, features.ids)
        wanted = min(len(keyframe.features), self.config.max_features)
        overlap = _OVERLAP if num_supporting >= _SUPPORTED * len(features) else _OVERLAP_UNSUPPORTED
        if np.count_nonzero(shared) < overlap * wanted:
            return True
        camera_from_keyframe = camera_from_odom.rotation @ keyframe.camera_from_odom.rotation.T
        before = bearings(keyframe.features.rays[rows[shared]]) @ camera_from_keyframe.T
        angles = np.linalg.norm(before - bearings(features.rays[shared]), axis=1)
        return bool(np.degrees(np.median(angles)) > _PARALLAX_DEG)
