"""Synthetic maps that are prepared for the search by fused descriptors, and engines that search them."""

from dataclasses import replace

import numpy as np
from synthetic_map import FakeExtractor

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.strategies.fused.config import FUSED, FusedConfig
from visloc_ros.localization.strategies.fused.fused_files import save_fused_map
from visloc_ros.localization.strategies.fused.preparation import make_fused

MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
BY_FUSED = AnchorConfig(search=FUSED)


def prepared(map_, folder, frames=None, **options):
    """The map with what was prepared of it, read from files."""
    fused, figures = make_fused(map_, FusedConfig.from_mapping(options), frames=frames)
    folder.mkdir(parents=True, exist_ok=True)
    save_fused_map(folder, fused, map_.manifest)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return replace(
        map_, manifest=replace(map_.manifest, prepared={FUSED: figures}), prepared={**map_.prepared, FUSED: files}
    )


def engine_of(map_, config=BY_FUSED):
    return AnchorEngine(map_, config, FakeExtractor(None), MATCHER)


def near_image(world, row=2):
    """A pose near that of a map image, which no map image has."""
    pose = world.map.images[row].map_from_camera
    return SE3(pose.rotation @ rotation_matrix([0.03, -0.04, 0.05]), pose.translation + np.array([0.1, -0.05, 0.08]))


def distance(anchor, pose):
    return float(np.linalg.norm(anchor.map_from_camera.translation - pose.translation))
