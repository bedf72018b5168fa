"""Whole builds with what was measured beside the images."""

import cv2
import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import rescale
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import Frame
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.measurements import GeoPosition, Measurements

FAST = {
    "features": {"max_keypoints": 256},
    "selection": {"min_motion": 0.0},
    "pairs": {"window": 3, "retrieval": 0},
    "reconstruction": {"threads": 1},
    "workers": 1,
    "frame": {"gravity": "gps"},  # the kitchen's true poses are not level
}


class SurveyedPhotos:
    """Small images of the kitchen, with positions as exact as its true poses."""

    name, calibrated, skipped, ground_truth = "surveyed", True, 0, None

    def __init__(self, source):
        self.truth = source.ground_truth
        self.camera = rescale(source.camera, 320, 240)
        small = ((frame, cv2.resize(frame.image, (320, 240), interpolation=cv2.INTER_AREA)) for frame in source)
        self._frames = [Frame(frame.stamp_ns, image, self.camera, frame.name) for frame, image in small]

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        return iter(self._frames)

    def read_measurements(self):
        centres = np.array([self.truth.interpolate(frame.stamp_ns).translation for frame in self._frames])
        geodetic = pycolmap.GPSTransform().enu_to_ellipsoid(centres, 47.4, 8.5, 400.0).tolist()
        stamps = [frame.stamp_ns for frame in self._frames]
        return Measurements({stamp: GeoPosition(*values, 0.02) for stamp, values in zip(stamps, geodetic, strict=True)})


@pytest.fixture(scope="module")
def photos(shared_data):
    return SurveyedPhotos(open_source(shared_data / "7scenes_redkitchen", SourceConfig(last=249, every=35)))


def test_positions_of_photos_make_the_map_metric(photos, tmp_path):
    build_map(photos, tmp_path / "map", MappingConfig.from_mapping(FAST))
    opened = open_map(tmp_path / "map")
    manifest = opened.manifest
    assert (manifest.metric, manifest.scale_source) == (True, "GPS")
    assert 0.0 < manifest.scale_error < 0.05
    assert manifest.geo_origin["altitude"] == pytest.approx(400.0, abs=5.0)
    assert "x is east; origin 4" in (tmp_path / "map" / "map.html").read_text()
    truth = {frame.name: photos.truth.interpolate(frame.stamp_ns).translation for frame in photos}
    found = np.array([image.map_from_camera.translation for image in opened.images])
    true = np.array([truth[image.name] for image in opened.images])
    assert np.linalg.norm(found.std(axis=0)) == pytest.approx(np.linalg.norm(true.std(axis=0)), rel=0.1)
    assert np.corrcoef(found[:, 0], true[:, 0])[0, 1] > 0.95


def test_options_that_contradict_the_measurements_are_refused_before_any_work(photos, tmp_path):
    config = MappingConfig.from_mapping({"frame": {"scale": "odometry"}})
    with pytest.raises(ConfigError, match="odometry_topic"):
        build_map(photos, tmp_path / "map", config)
    assert not list(tmp_path.iterdir())
