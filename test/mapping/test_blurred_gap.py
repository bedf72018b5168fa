"""A film that is blurred or black for a while in the middle: one map of what is sharp, at its true places."""

from dataclasses import replace

import cv2
import numpy as np

from visloc_ros.core.geometry import umeyama
from visloc_ros.core.map import open_map
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources import SourceConfig, open_source

CONFIG = MappingConfig.from_mapping(
    {
        "selection": {"min_motion": 0.0},
        "reconstruction": {"threads": 1},
        "workers": 1,
        "matcher": {"name": "nearest", "ratio": 0.9},
    }
)
GAP = range(9, 15)


class Spoilt:
    """A recording of whose frames those of the gap are spoilt."""

    name, skipped, ground_truth, calibrated = "film", 0, None, True

    def __init__(self, source, spoil):
        self.camera, self.calibration = source.camera, source.calibration
        self.frames = [
            replace(frame, image=spoil(frame.image)) if row in GAP else frame for row, frame in enumerate(source)
        ]

    def __len__(self):
        return len(self.frames)

    def __iter__(self):
        return iter(self.frames)


def blurred(image):
    """As of a camera that is turned fast, far out of focus."""
    return cv2.GaussianBlur(image, (0, 0), 25.0)


def black(image):
    return np.zeros_like(image)


def room_film(duration_s):
    return simulate(
        SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=duration_s, rate_hz=3.0, samples=1)
    )


def check_places(film, source, folder):
    """The map's images are where the camera was, up to a similarity."""
    poses = {image.name: image.map_from_camera.translation for image in open_map(folder).images}
    true = {frame.name: source.ground_truth.interpolate(frame.stamp_ns).translation for frame in film}
    found, truth = np.array(list(poses.values())), np.array([true[name] for name in poses])
    errors = np.linalg.norm(umeyama(truth, found) @ found - truth, axis=1)
    assert np.median(errors) < 0.03
    assert errors.max() < 0.1


def test_a_gap_in_a_film_of_a_kitchen_leaves_one_map(shared_data, tmp_path):
    source = open_source(shared_data / "7scenes_redkitchen", SourceConfig(every=10, last=239))
    film = Spoilt(source, blurred)
    summary = build_map(film, tmp_path / "map", CONFIG)
    assert summary.parts == ()
    assert summary.registered_images >= len(film) - len(GAP)
    check_places(film, source, tmp_path / "map")


def test_a_gap_in_a_film_that_comes_back_to_its_beginning_leaves_one_map(tmp_path):
    source = room_film(18.0)
    film = Spoilt(source, black)
    summary = build_map(film, tmp_path / "map", CONFIG)
    assert summary.parts == ()
    assert summary.registered_images == len(film) - len(GAP)
    check_places(film, source, tmp_path / "map")


def test_where_the_camera_turned_away_in_the_gap_the_summary_says_why_there_are_two_maps(tmp_path):
    film = Spoilt(room_film(8.0), blurred)
    summary = build_map(film, tmp_path / "map", CONFIG)
    (part,) = summary.parts
    assert part.images + summary.registered_images == len(film) - len(GAP)
    assert "no pair of their images matches" in str(summary)
