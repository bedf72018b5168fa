"""The files of the search by instances in a map: ``instances.npz``, ``instances.json``, and ``recogniser.pt``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map
from visloc_search.instances.config import INSTANCES, MOST_INSTANCES, InstanceConfig
from visloc_search.instances.instance_map import InstanceMap
from visloc_search.reduced_map.array_files import read_arrays, write_arrays
from visloc_search.reduced_map.provenance import check_version, origin_of, read_description

ARRAYS_NAME, DESCRIPTION_NAME, WEIGHTS_NAME = "instances.npz", "instances.json", "recogniser.pt"
SCHEMA_VERSION = 1
_AGAIN = ": run 'visloc prepare MAP --for instances' again"


@dataclass(frozen=True)
class _Description:
    """The content of ``instances.json``."""

    made_from: Mapping[str, str]
    num_classes: int
    min_similarity: float
    weights_sha256: str


def save_instances(
    folder: Path, instances: InstanceMap, weights: bytes, config: InstanceConfig, manifest: Manifest
) -> None:
    """Write the files into an existing folder; ``config`` is only kept for people. Raises OSError."""
    arrays = {
        "point_label": instances.point_labels.astype(np.uint16),
        "area": instances.areas.astype(np.float16),
        "descriptor": instances.descriptors.astype(np.float16),
    }
    write_arrays(folder / ARRAYS_NAME, arrays)
    (folder / WEIGHTS_NAME).write_bytes(weights)
    description = {
        "schema_version": SCHEMA_VERSION,
        "config": config.to_mapping(),
        "made_from": origin_of(manifest),
        "num_classes": instances.num_classes,
        "min_similarity": instances.min_similarity,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    (folder / DESCRIPTION_NAME).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def load_instances(map_: Map, files: Mapping[str, bytes]) -> tuple[InstanceMap, bytes]:
    """The instances of a map, and the recogniser's weights, out of the contents of files by name, everything checked.

    Raises MapError where a file is missing or broken, or was made from another version of the map. (A map of stock hloc
    states no checksums: its version is not compared.)
    """
    for name in (DESCRIPTION_NAME, ARRAYS_NAME, WEIGHTS_NAME):
        if name not in files:
            raise MapError(f"{name} of the instances of the map '{map_.name}' is missing{_AGAIN}")
    described = read_description(DESCRIPTION_NAME, files[DESCRIPTION_NAME], INSTANCES, SCHEMA_VERSION, _parse, _AGAIN)
    check_version(INSTANCES, described.made_from, map_.manifest, _AGAIN)
    weights = files[WEIGHTS_NAME]
    if hashlib.sha256(weights).hexdigest() != described.weights_sha256:
        raise MapError(f"{WEIGHTS_NAME} is not the file that {DESCRIPTION_NAME} describes{_AGAIN}")
    return _read_arrays(map_, files[ARRAYS_NAME], described), weights


def _parse(values: Mapping[str, Any]) -> _Description:
    num_classes, min_similarity = values["num_classes"], float(values["min_similarity"])
    if type(num_classes) is not int or not 2 <= num_classes <= MOST_INSTANCES + 1:
        raise ValueError("'num_classes' must be a number of classes")
    if not -1.0 <= min_similarity <= 1.0:
        raise ValueError("'min_similarity' must be a dot product of unit vectors")
    return _Description(dict(values["made_from"]), num_classes, min_similarity, str(values["weights_sha256"]))


def _read_arrays(map_: Map, content: bytes, described: _Description) -> InstanceMap:
    count = len(map_.images)
    expected = {
        "point_label": ("<u2", (len(map_.points),)),
        "area": ("<f2", (count, described.num_classes)),
        "descriptor": ("<f2", (count, None)),
    }
    arrays = read_arrays(ARRAYS_NAME, content, expected, _AGAIN)
    if arrays["point_label"].max(initial=0) >= described.num_classes:
        raise MapError(f"{ARRAYS_NAME} has points of instances that do not exist{_AGAIN}")
    return InstanceMap(
        arrays["point_label"].astype(np.int32),
        arrays["area"].astype(np.float32),
        arrays["descriptor"].astype(np.float32),
        described.min_similarity,
    )
