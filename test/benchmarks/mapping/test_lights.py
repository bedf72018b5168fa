"""Lights of the benchmark are as dark, noisy and one-sided as they should be; one session is searched before others."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest

from benchmarks.mapping.lit_places import LIGHTINGS, developed, styled
from benchmarks.mapping.noisy_scenes import map_of, scene_of
from benchmarks.mapping.sessions import Likeness, SessionOverlap
from visloc_ros.core.types import Frame
from visloc_ros.localization.view_change import ViewOverlap

SESSIONS = ("day", "night") * 6


@pytest.fixture(scope="module")
def seen_map():
    return map_of(scene_of(0, 1.0)[0])


@pytest.fixture
def grey():
    camera = pycolmap.Camera(model="PINHOLE", width=160, height=120, params=[120.0, 120.0, 80.0, 60.0])
    return Frame(0, np.full((120, 160, 3), 120, np.uint8), camera, "grey")


def test_a_camera_exposes_little_light_as_bright_but_with_more_noise():
    bright, dim = (developed(np.full((64, 64, 3), light), 1.0, np.random.default_rng(0)) for light in (0.2, 0.01))
    assert dim.mean() == pytest.approx(bright.mean(), rel=0.1)
    assert dim.std() > 3.0 * bright.std()


def test_of_too_little_light_an_image_stays_dark():
    assert developed(np.full((64, 64, 3), 0.0005), 1.0, np.random.default_rng(0)).mean() < 60.0


def test_the_sun_comes_from_one_side_and_a_flash_from_the_camera(grey):
    sunset, flash = (styled(grey, LIGHTINGS[light]).mean(axis=2) for light in ("sunset", "flash"))
    assert sunset[:, :20].mean() > 2.0 * sunset[:, -20:].mean()
    assert flash[50:70, 70:90].mean() > 1.5 * flash[:20, :20].mean()


def test_references_of_the_chosen_session_come_first_in_their_order(seen_map):
    overlap, pose, camera = (
        SessionOverlap(seen_map, SESSIONS),
        seen_map.images[0].map_from_camera,
        seen_map.images[0].camera,
    )
    overlap.choose = lambda rows: "night"
    every = ViewOverlap(seen_map).rank(pose, camera, 12)
    night, day = ([row for row in every if SESSIONS[row] == name] for name in ("night", "day"))
    assert night
    assert day
    assert overlap.rank(pose, camera, 12) == night + day
    assert overlap.rank(pose, camera, len(night)) == night


def test_the_session_is_chosen_whose_images_look_like_the_query():
    descriptors = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    query = SimpleNamespace(upright_image=None, upright=None)
    describer = SimpleNamespace(describe=lambda image, features: np.array([0.0, 1.0]))
    likeness = Likeness(query, describer, descriptors, ("day", "night", "day", "night"))
    assert likeness.choose([0, 1, 2, 3]) == "night"
    assert likeness.choose([0, 2]) == "day"
