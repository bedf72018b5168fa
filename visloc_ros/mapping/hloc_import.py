"""Converts a map of stock hloc to one of this package, with a manifest, a codebook and checksums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pycolmap

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.map import Manifest, find_files, open_map
from visloc_ros.core.map_writer import check_output, staged_folder, write_map
from visloc_ros.features import Vlad
from visloc_ros.features.config import EXTRACTOR_NAMES
from visloc_ros.mapping.validation import validate_map


def import_hloc(
    folder: Path, output: Path, extractor: str = "", *, metric: bool = False, overwrite: bool = False
) -> Manifest:
    """Write the map folder of stock hloc as the map ``output``, with VLAD as its global descriptor.

    ``extractor`` names the model of the local features where the file name does not say; ``metric``: its world units
    are metres. Raises ConfigError on an unknown extractor, MapError on a broken folder, OutputError when ``output`` is
    taken or not writable.
    """
    check_output(output, overwrite=overwrite)
    if extractor and extractor not in EXTRACTOR_NAMES and not extractor.startswith(HLOC):
        raise ConfigError(f"unknown extractor '{extractor}'; known: {', '.join(EXTRACTOR_NAMES)}, {HLOC}CONF")
    map_ = open_map(folder, extractor=extractor, whole=True)
    model = pycolmap.Reconstruction(find_files(folder, extractor=extractor)[0].model)
    vlad = Vlad.train(image.features.descriptors for image in map_.images)
    manifest = replace(
        map_.manifest,
        name=output.resolve().name,
        models={"extractor": map_.manifest.models["extractor"], "global": vlad.info},
        metric=metric,
        scale_source="stated at import" if metric else "none",
    )
    features = {image.name: image.features for image in map_.images}
    vectors = {name: vlad.describe_features(one) for name, one in features.items()}
    with staged_folder(output, overwrite=overwrite) as staged:
        return validate_map(staged, write_map(staged, model, features, vectors, vlad.centroids, manifest))
