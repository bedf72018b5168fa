"""What is found out about a map by its own images when it is written: its error, and how a large one is searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import Manifest, open_map
from visloc_ros.localization.descriptor_index import learn_in_advance
from visloc_ros.localization.map_uncertainty import measure_map_uncertainty


def validate_map(folder: Path, manifest: Manifest) -> Manifest:
    """Validate a map that was just written with this manifest, and add the estimate of its error to that."""
    map_ = open_map(folder, checksums=False)
    learn_in_advance(map_.global_descriptors)
    validated = replace(manifest, uncertainty=measure_map_uncertainty(map_))
    write_manifest(folder, validated)
    return validated
