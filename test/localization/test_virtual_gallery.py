"""A kapture data set from end to end: exact poses of several cameras, and images found among them."""

import numpy as np
import pytest

from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import PairConfig
from visloc_ros.sources import open_source
from visloc_ros.sources.pose_files import read_poses


@pytest.fixture(scope="module")
def gallery(shared_data, tmp_path_factory):
    """Map of the images of a rig of two cameras, at their poses by name."""
    mapping = shared_data / "virtual_gallery" / "mapping"
    path = tmp_path_factory.mktemp("maps") / "gallery"
    config = MappingConfig(workers=1, pairs=PairConfig(window=2, retrieval=2))
    summary = build_map(open_source(mapping), path, config, reference_poses=read_poses(mapping))
    return open_map(path), summary


def test_every_image_of_the_rig_is_in_the_map_where_it_was(gallery, shared_data):
    map_, summary = gallery
    poses = read_poses(shared_data / "virtual_gallery" / "mapping")
    assert summary.registered_images == len(map_.images) == 12
    assert all(image.map_from_camera.is_close(poses.find(image.name)) for image in map_.images)
    assert map_.manifest.reprojection_error_px < 0.7


def test_all_queries_are_found_to_the_centimetre_with_the_defaults(gallery, shared_data):
    """Each query has a focal length of its own, from 880 to 1760 px, that of the map is 1371 px."""
    queries = open_source(shared_data / "virtual_gallery" / "query")
    engine = AnchorEngine(gallery[0])
    for frame in queries:
        answer = engine.localize(frame)
        true = queries.ground_truth.nearest(frame.stamp_ns, 0)
        assert isinstance(answer, AnchorPose)
        assert np.linalg.norm(answer.map_from_camera.translation - true.translation) < 0.02
        assert rotation_angle_deg(answer.map_from_camera.rotation, true.rotation) < 0.15
