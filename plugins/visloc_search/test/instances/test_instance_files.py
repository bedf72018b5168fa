"""The files of instances in a map: what was written is read, and whatever is broken is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from instance_world import instances_of
from synthetic_map import World

from visloc_ros.core.errors import MapError
from visloc_search.instances.config import InstanceConfig
from visloc_search.instances.instance_files import (
    ARRAYS_NAME,
    DESCRIPTION_NAME,
    WEIGHTS_NAME,
    load_instances,
    save_instances,
)

WEIGHTS = b"weights"


@pytest.fixture(scope="module")
def place():
    return World().map


@pytest.fixture(scope="module")
def instances(place):
    return replace(instances_of(place), min_similarity=0.25)


@pytest.fixture
def files(place, instances, tmp_path):
    save_instances(tmp_path, instances, WEIGHTS, InstanceConfig(), place.manifest)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_was_written_is_read(place, instances, files):
    read, weights = load_instances(place, files)
    assert weights == WEIGHTS
    assert read.min_similarity == 0.25
    np.testing.assert_array_equal(read.point_labels, instances.point_labels)
    np.testing.assert_allclose(read.areas, instances.areas, atol=1e-3)
    np.testing.assert_allclose(read.descriptors, instances.descriptors, atol=1e-3)


def changed(files, **values):
    description = json.loads(files[DESCRIPTION_NAME]) | values
    return {**files, DESCRIPTION_NAME: json.dumps(description).encode()}


BROKEN = {
    "no arrays": lambda files: {name: one for name, one in files.items() if name != ARRAYS_NAME},
    "no weights": lambda files: {name: one for name, one in files.items() if name != WEIGHTS_NAME},
    "cut arrays": lambda files: {**files, ARRAYS_NAME: files[ARRAYS_NAME][:-200]},
    "other weights": lambda files: {**files, WEIGHTS_NAME: b"other"},
    "no description": lambda files: {**files, DESCRIPTION_NAME: b"instances"},
    "later version": lambda files: changed(files, schema_version=2),
    "too many classes": lambda files: changed(files, num_classes=10**9),
    "fewer classes than the points have": lambda files: changed(files, num_classes=3),
    "impossible similarity": lambda files: changed(files, min_similarity=2.0),
    "another map": lambda files: changed(files, made_from={"features.h5": "0"}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_refused_with_what_to_do(place, files, kind):
    with pytest.raises(MapError, match="run 'visloc prepare MAP --for instances' again"):
        load_instances(place, BROKEN[kind](files))


def test_instances_of_a_map_of_other_points_are_refused(place, files):
    other = World(points=300).map
    with pytest.raises(MapError, match="point_label"):
        load_instances(other, files)
