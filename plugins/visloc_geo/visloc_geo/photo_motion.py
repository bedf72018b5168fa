"""How the camera moved from photo to photo, by a reconstruction of these photos alone; its scale is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.types import OdometryPose
from visloc_ros.features.types import Matcher
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import CameraGroups
from visloc_ros.mapping.matching import match_pairs
from visloc_ros.mapping.pairs import sequential_pairs
from visloc_ros.mapping.reconstruction import reconstruct
from visloc_ros.mapping.sfm_database import SfmImage, registered_poses

_NEIGHBOURS = 4  # of a photo before and after it, that it is matched with
_MAPPER = "global"  # people walk towards what they photograph, for which incremental mapping finds wrong solutions


@dataclass(frozen=True, eq=False)
class DescribedPhoto:
    """What is kept of a photo: its stamp, its camera, and its local features in its pixels."""

    stamp_ns: int
    camera: pycolmap.Camera
    features: LocalFeatures


def motion_of_photos(
    photos: Sequence[DescribedPhoto], matcher: Matcher, progress: Progress | None = None
) -> list[OdometryPose]:
    """Poses ``odom_from_camera`` of the photos that can be joined, by their stamps; empty where none can.

    Cameras keep their intrinsics.
    """
    pairs = sequential_pairs(len(photos), _NEIGHBOURS)
    matches = match_pairs(lambda: matcher, [one.features for one in photos], pairs, progress or SilentProgress())
    cameras = CameraGroups(calibrated=True)
    views = [SfmImage(str(one.stamp_ns), one.features.keypoints, cameras.find(one.camera)) for one in photos]
    config = ReconstructionConfig(mapper=_MAPPER, threads=1)
    try:
        model = reconstruct(views, matches, config)
    except MapError:
        return []
    poses = {int(name): pose for name, pose in registered_poses(model).items()}
    first_from_odom = poses[min(poses)].inverse
    counts = {int(image.name): image.num_points3D for image in model.images.values()}
    return [OdometryPose(stamp, first_from_odom @ poses[stamp], 0, counts[stamp]) for stamp in sorted(poses)]
