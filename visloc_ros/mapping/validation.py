"""A map is validated by its own images when it is written; its manifest keeps what it is off by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import LocalFeatures, Manifest, open_map
from visloc_ros.core.map_writer import write_map
from visloc_ros.localization.map_uncertainty import measure_map_uncertainty


def write_validated_map(
    folder: Path,
    reconstruction: pycolmap.Reconstruction,
    features: Mapping[str, LocalFeatures],
    global_descriptors: Mapping[str, NDArray[np.floating]],
    vlad_centroids: NDArray[np.floating],
    manifest: Manifest,
) -> Manifest:
    """Write a map into an existing folder as ``write_map`` does, then validate what can be read of it."""
    written = write_map(folder, reconstruction, features, global_descriptors, vlad_centroids, manifest)
    validated = replace(written, uncertainty=measure_map_uncertainty(open_map(folder, checksums=False)))
    write_manifest(folder, validated)
    return validated
