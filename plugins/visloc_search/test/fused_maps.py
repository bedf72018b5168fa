"""Synthetic maps that are prepared for the search by fused descriptors, and engines that search them."""

from dataclasses import replace

import numpy as np
from synthetic_map import MATCHER, FakeExtractor

from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_search.fused.config import FUSED, FusedConfig
from visloc_search.fused.fused_files import save_fused_map
from visloc_search.fused.preparation import make_fused

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


def distance(anchor, pose):
    return float(np.linalg.norm(anchor.map_from_camera.translation - pose.translation))
