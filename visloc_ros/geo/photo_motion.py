"""How the camera moved from photo to photo, by a reconstruction of these photos alone; its scale is not known."""

from __future__ import annotations

from collections.abc import Sequence

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import Frame, OdometryPose
from visloc_ros.features.types import Matcher
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import CameraGroups
from visloc_ros.mapping.matching import match_pairs
from visloc_ros.mapping.pairs import sequential_pairs
from visloc_ros.mapping.reconstruction import reconstruct, registered_poses
from visloc_ros.mapping.sfm_database import SfmImage

_NEIGHBOURS = 4  # of a photo before and after it, that it is matched with
_MAPPER = "global"  # people walk towards what they photograph, for which incremental mapping finds wrong solutions


def motion_of_photos(
    photos: Sequence[Frame], features: Sequence[LocalFeatures], matcher: Matcher
) -> list[OdometryPose]:
    """Poses ``odom_from_camera`` of the photos that can be joined, by their stamps; empty where none can.

    ``features`` are those of each photo, in its pixels. Cameras keep their intrinsics.
    """
    pairs = sequential_pairs(len(photos), _NEIGHBOURS)
    matches = match_pairs(lambda: matcher, features, pairs, SilentProgress())
    cameras = CameraGroups(calibrated=True)
    views = [
        SfmImage(str(photo.stamp_ns), one.keypoints, cameras.find(photo.camera))
        for photo, one in zip(photos, features, strict=True)
    ]
    config = ReconstructionConfig(mapper=_MAPPER, threads=1)
    try:
        model = reconstruct(views, matches, config)
    except MapError:
        return []
    poses = {int(name): pose for name, pose in registered_poses(model).items()}
    first_from_odom = poses[min(poses)].inverse
    counts = {int(image.name): image.num_points3D for image in model.images.values()}
    return [OdometryPose(stamp, first_from_odom @ poses[stamp], 0, counts[stamp]) for stamp in sorted(poses)]
