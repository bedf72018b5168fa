"""Images that are changed by less than anybody sees, and what is told of the runs over them."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from benchmarks.odometry.perturbed import (
    CROPS,
    Crop,
    PerturbedRun,
    crop_of,
    measure,
    perturbed,
    summarise,
    summary_table,
    with_noise,
)
from visloc_ros.core.camera import project, rays
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.sources import SourceConfig, open_source

CAMERA = pycolmap.Camera(model="OPENCV", width=64, height=48, params=[50.0, 51.0, 31.3, 24.2, -0.28, 0.07, 2e-4, -1e-4])
POINTS = np.array([[0.1, -0.2, 1.0], [0.4, 0.3, 2.0], [-0.5, 0.1, 1.5]])
RUN = PerturbedRun("s", 0, "–", 100, 100, 1, 0.02)
NAME = "kitti_06"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two seconds of a simulated walk that goes by a real sequence's name."""
    folder = tmp_path_factory.mktemp("data")
    config = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=2.0, samples=1)
    write_folder(simulate(config, "map"), folder / NAME)
    return folder


def image(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_pixels_that_remain_keep_their_rays(crop):
    whole, camera = image(48, 64), crop.camera(CAMERA)
    rest = crop.image(whole)
    assert rest.shape == (camera.height, camera.width)
    assert rest.shape == (48 - crop.top - crop.bottom, 64 - crop.left - crop.right)
    shift = [crop.left, crop.top]
    np.testing.assert_allclose(project(camera, POINTS) + shift, project(CAMERA, POINTS), atol=1e-9)
    rows, columns = np.indices(rest.shape)
    assert np.array_equal(rest, whole[rows + crop.top, columns + crop.left])
    pixels = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    np.testing.assert_allclose(rays(camera, pixels), rays(CAMERA, pixels + shift), atol=1e-9)


def test_the_camera_of_the_whole_image_stays_as_it_was():
    before = CAMERA.todict()
    Crop(1, 1, 1, 1).camera(CAMERA)
    assert str(CAMERA.todict()) == str(before)


def test_runs_cut_one_side_each_then_several():
    assert crop_of(0) == Crop()
    assert [str(crop_of(run)) for run in range(1, 7)] == ["left", "right", "top", "bottom", "left, right", "left, top"]
    assert len({crop_of(run) for run in range(16)}) == 16
    assert crop_of(16) == crop_of(1)


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_noise_is_of_at_most_one_grey_level(shape):
    noise = with_noise(image(*shape), 3, 7).astype(int) - image(*shape)
    assert set(np.unique(noise)) == {-1, 0, 1}


def test_noise_stays_within_black_and_white():
    assert set(np.unique(with_noise(np.zeros((48, 64), np.uint8), 1, 0))) == {0, 1}
    assert set(np.unique(with_noise(np.full((48, 64), 255, np.uint8), 1, 0))) == {254, 255}


def test_noise_leaves_colours_as_they_are():
    middle = np.clip(image(48, 64, 3), 1, 254)
    noise = with_noise(middle, 3, 7).astype(int) - middle
    assert np.array_equal(noise, np.repeat(noise[:, :, :1], 3, axis=2))


def test_noise_is_seeded_by_run_and_frame():
    grey = np.full((48, 64), 100, np.uint8)
    assert np.array_equal(with_noise(grey, 3, 7), with_noise(grey, 3, 7))
    for other in ((3, 8), (4, 7), (7, 3)):
        assert not np.array_equal(with_noise(grey, 3, 7), with_noise(grey, *other))


def test_the_first_run_gets_the_images_as_they_are(data):
    source = open_source(data / NAME, SourceConfig())
    for one, frame in zip(perturbed(source, 0), source, strict=True):
        assert np.array_equal(one.frame.image, frame.image)
        assert one.frame.camera == frame.camera


def test_all_frames_of_a_run_have_the_camera_of_what_is_left(data):
    source = open_source(data / NAME, SourceConfig())
    frames = [one.frame for one in perturbed(source, 1)]
    assert [frame.stamp_ns for frame in frames] == [frame.stamp_ns for frame in source]
    assert {frame.image.shape[:2] for frame in frames} == {(240, 319)}
    assert all(frame.camera is frames[0].camera for frame in frames)
    assert frames[0].camera.principal_point_x == source.camera.principal_point_x - 1.0


def test_a_run_gives_the_same_every_time_and_another_one_something_else(data):
    first, again, other = (measure(data, NAME, run) for run in (2, 2, 3))
    assert first == again
    assert first.ate_m != other.ate_m
    assert (first.frames, first.segments, first.crop) == (30, 1, "right")
    assert 0.0 < first.ate_m < 0.1


def runs_of(*ates_m):
    return [replace(RUN, run=number, crop=str(crop_of(number)), ate_m=ate_m) for number, ate_m in enumerate(ates_m)]


def test_run_0_median_and_worst_are_reported_beside_the_goals():
    runs = runs_of(0.03, 0.02, 0.021, 0.019, 0.02)
    runs[2] = replace(runs[2], tracked=90, segments=2)
    figures = summarise(runs, 2.0)
    assert (figures["run_0_m"], figures["median_m"], figures["worst_m"]) == (0.03, 0.02, 0.03)
    assert figures["worst_over_median"] == pytest.approx(1.5)
    assert (figures["median_goal_holds"], figures["worst_goal_holds"]) == (True, False)
    row = summary_table({"s": figures}).splitlines()[2]
    assert row == "| s | 90 of 100 | 2 | 3.00 | 2.00 | 3.00 | 1.50 | 2: holds | missed |"


def test_a_median_above_its_goal_misses_it():
    figures = summarise(runs_of(0.02, 0.021, 0.022), 2.0)
    assert (figures["median_goal_holds"], figures["worst_goal_holds"]) == (False, True)


def test_a_run_that_could_not_be_measured_is_the_worst():
    figures = summarise(runs_of(0.02, None, 0.021), 2.5)
    assert (figures["median_m"], figures["median_goal_holds"]) == (0.021, True)
    assert (figures["worst_m"], figures["worst_over_median"], figures["worst_goal_holds"]) == (None, None, False)
    assert "| 2.10 | – | – | 2.5: holds | missed |" in summary_table({"s": figures})
    assert summarise(runs_of(None, None), 2.5)["median_goal_holds"] is False
