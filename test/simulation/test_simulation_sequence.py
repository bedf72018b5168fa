"""A recording of the simulated room: its frames, the options of the camera, and the folder that it is written to."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
import yaml

from visloc_ros.core.camera import project, rays
from visloc_ros.core.errors import ConfigError, OutputError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.simulation import sequence
from visloc_ros.simulation.path import PATHS, Choreography, Span, Turn
from visloc_ros.simulation.sequence import PASSES, SimulationConfig, simulate, write_folder

STILL = SimulationConfig(
    width=160, height=120, focal_px=120.0, lens="none", rate_hz=10.0, duration_s=2.0,
    exposure_ms=0.0, exposure_drift_ev=0.0, noise_std=0.0, vignetting=0.0, light="day", samples=1,
)  # fmt: skip


@pytest.fixture
def record(plain_room):
    """Frames of a pass through a plain room, by configuration changes."""

    def image(index=0, pass_name="map", **changes):
        return simulate(replace(STILL, **changes), pass_name, plain_room).frame(index).image.astype(int)

    return image


def test_frames_come_with_stamps_camera_and_truth(plain_room):
    simulation = simulate(STILL, "map", plain_room)
    frames = list(simulation)
    assert len(frames) == len(simulation) == len(simulation.ground_truth) == 20
    assert [frame.stamp_ns for frame in frames] == simulation.ground_truth.stamps_ns.tolist()
    assert frames[1].stamp_ns - frames[0].stamp_ns == NANOSECONDS // 10
    assert frames[7].image.shape == (120, 160, 3)
    assert frames[7].camera.width == 160
    assert simulation.pose(7).is_close(simulation.ground_truth.poses[7])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(plain_room):
    config = replace(STILL, noise_std=2.0, exposure_ms=5.0)
    first, again = (simulate(config, "map", plain_room) for _ in range(2))
    np.testing.assert_array_equal(first.frame(3).image, again.frame(3).image)
    other = simulate(replace(config, seed=1), "map", plain_room)
    assert np.any(other.frame(3).image != first.frame(3).image)


def test_the_seed_also_paints_the_room(plain_room, monkeypatch):
    seeds = []
    monkeypatch.setattr(sequence, "make_living_room", lambda seed: seeds.append(seed) or plain_room)
    painted = simulate(replace(STILL, seed=7)).frame(0).image
    assert seeds == [7]
    np.testing.assert_array_equal(painted, simulate(replace(STILL, seed=7), room=plain_room).frame(0).image)


def test_frames_can_be_taken_in_any_order(plain_room):
    config = replace(STILL, noise_std=2.0)
    forwards, single = simulate(config, "map", plain_room), simulate(config, "map", plain_room)
    np.testing.assert_array_equal(list(forwards)[5].image, single.frame(5).image)


def test_size_and_focal_length_make_the_camera(record):
    assert record(width=96, height=64).shape == (64, 96, 3)
    assert np.abs(record(focal_px=120.0) - record(focal_px=180.0)).mean() > 2


@pytest.mark.parametrize("lens", ["mild", "strong", "fisheye"])
def test_the_lens_distorts(record, lens):
    assert np.abs(record(lens=lens) - record()).mean() > 0.5


def test_rate_and_duration_count_the_frames():
    assert len(simulate(replace(STILL, rate_hz=30.0, duration_s=2.5))) == 75
    assert len(simulate(replace(STILL, rate_hz=0.1, duration_s=1.0))) == 1


def test_light_changes_the_colours_and_follows_the_pass(record):
    day, evening = record(light="day"), record(light="evening")
    assert (evening[..., 0] / evening[..., 2]).mean() > 1.1 * (day[..., 0] / day[..., 2]).mean()
    np.testing.assert_array_equal(record(light="auto"), day)
    np.testing.assert_array_equal(
        record(light="auto", pass_name="localize"), record(light="evening", pass_name="localize")
    )


def test_noise_has_the_strength_asked_for_and_is_fresh_in_every_frame(record):
    clean = record()
    noise = [record(index, noise_std=6.0) - record(index) for index in (0, 1)]
    deviation = noise[0][(clean > 100) & (clean < 156)].std()
    assert 5.0 < deviation < 7.0
    assert abs(noise[0].mean()) < 0.1
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_exposure_drifts_by_the_stops_asked_for(plain_room):
    config = replace(STILL, exposure_drift_ev=0.5, duration_s=11.0)
    drifting, steady = (simulate(c, "map", plain_room) for c in (config, replace(config, exposure_drift_ev=0.0)))
    ratios = [drifting.frame(i).image.mean() / steady.frame(i).image.mean() for i in range(0, 110, 5)]
    assert ratios[0] == pytest.approx(1.0, abs=0.01)
    assert 1.25 < max(ratios) < 1.45
    assert min(ratios) == pytest.approx(2**-0.5, abs=0.02)


def test_a_blackout_covers_the_lens_for_its_time(plain_room):
    simulation = simulate(replace(STILL, blackout_start_s=0.5, blackout_s=0.3, noise_std=1.0), "map", plain_room)
    covered = [bool(frame.image.mean() < 2) for frame in simulation]
    assert covered == [5 <= index < 8 for index in range(20)]


def test_vignetting_darkens_the_corners_only(record):
    clear, dark = record(), record(vignetting=0.5)
    np.testing.assert_allclose(dark[58:62, 78:82], clear[58:62, 78:82], atol=2)
    np.testing.assert_allclose(dark[0, 0], 0.5 * clear[0, 0], atol=2)


def test_a_long_exposure_blurs_about_the_middle_of_the_exposure(record):
    before, sharp, after = (record(index, samples=4, rate_hz=20.0) for index in (79, 80, 81))
    blurred = record(80, samples=4, rate_hz=20.0, exposure_ms=100.0)
    fine = [cv2.Laplacian(image.mean(axis=2), cv2.CV_64F).std() for image in (sharp, blurred)]
    assert fine[1] < 0.7 * fine[0]
    early, late = (np.abs(blurred - image).mean() for image in (before, after))
    assert early == pytest.approx(late, rel=0.1)


def test_more_samples_resolve_finer_texture(record):
    coarse, fine = (cv2.Laplacian(record(samples=n).mean(axis=2), cv2.CV_64F).std() for n in (1, 8))
    assert fine > coarse


def test_an_unknown_pass_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="map, localize"):
        simulate(STILL, "drive")


@pytest.mark.parametrize(
    "changes", [{"lens": "wide"}, {"light": "noon"}, {"noise_std": -1.0}, {"width": 0}, {"samples": 0}]
)
def test_values_that_make_no_image_are_refused(changes):
    with pytest.raises(ConfigError):
        replace(STILL, **changes)


@pytest.fixture(scope="module")
def passes(living_room):
    config = SimulationConfig(duration_s=30.0, rate_hz=2.0)
    return {name: simulate(config, name, living_room) for name in PASSES}


def nearest_view(simulation, pose):
    """Index of the frame whose view is closest in place and direction."""
    return min(
        range(len(simulation)),
        key=lambda i: (
            np.linalg.norm(simulation.pose(i).translation - pose.translation)
            - 2.0 * simulation.pose(i).rotation[:, 2] @ pose.rotation[:, 2]
        ),
    )


@pytest.mark.parametrize("name", PASSES)
def test_every_view_is_rich_in_corners(passes, name):
    for index in (0, 23, 46):
        corners = cv2.goodFeaturesToTrack(passes[name].frame(index).grey, 2000, 0.01, 7)
        assert len(corners) >= 500


@pytest.mark.parametrize("index", [3, 44])
def test_features_of_the_second_pass_are_found_again_in_the_first_where_they_truly_are(passes, index):
    query, reference = passes["localize"], passes["map"]
    near = nearest_view(reference, query.pose(index))
    frames = query.frame(index), reference.frame(near)
    sift = cv2.SIFT_create(2000)
    (points, first), (others, second) = (
        (cv2.KeyPoint.convert(keypoints) + 0.5, descriptors)
        for keypoints, descriptors in (sift.detectAndCompute(frame.grey, None) for frame in frames)
    )
    pairs = cv2.BFMatcher().knnMatch(first, second, k=2)
    good = np.array([(a.queryIdx, a.trainIdx) for a, b in pairs if a.distance < 0.75 * b.distance])
    seen, matched = points[good[:, 0]].astype(float), others[good[:, 1]]

    depth = query.renderer.depth(query.pose(index))[seen[:, 1].astype(int), seen[:, 0].astype(int)]
    in_query = np.column_stack([rays(query.camera, seen), np.ones(len(seen))]) * depth[:, None]
    reference_from_query = reference.pose(near).inverse @ query.pose(index)
    true = project(reference.camera, reference_from_query @ in_query)
    errors = np.linalg.norm(true - matched, axis=1)
    assert np.sum(errors < 3) >= 40
    assert np.mean(errors < 3) > 0.6
    assert np.median(errors[errors < 3]) < 1.0


def test_rows_of_a_rolling_shutter_are_of_their_own_instants(plain_room):
    """On a path that turns evenly, the rows of the middle of one image are those of a global one, others are not."""
    path = Choreography(Still(), turns=(Turn(Span(-5.0, 20.0), 90.0),))
    rolling = simulate(replace(STILL, readout_ms=40.0), "map", plain_room, path).frame(5).image.astype(int)
    at = [
        simulate(replace(STILL, rate_hz=1000.0), "map", plain_room, path).frame(500 + ms).image for ms in (-20, 0, 20)
    ]
    for rows, expected in ((slice(0, 3), at[0]), (slice(58, 62), at[1]), (slice(117, 120), at[2])):
        apart = [np.abs(rolling[rows] - image[rows].astype(int)).mean() for image in at]
        assert apart[next(i for i, image in enumerate(at) if image is expected)] == min(apart)
        assert min(apart) < 0.25 * sorted(apart)[1]


class Still:
    """A camera that stands in the room and looks along a wall."""

    def pose(self, seconds):
        return PATHS["map"].pose(0.0)


@pytest.fixture
def simulation(plain_room):
    config = SimulationConfig(width=96, height=72, focal_px=72.0, rate_hz=5.0, duration_s=1.0, noise_std=0.0)
    return simulate(config, "map", plain_room)


def test_a_written_folder_holds_the_images_the_truth_and_the_camera(simulation, tmp_path):
    counts = []
    write_folder(simulation, tmp_path / "deep" / "room", on_frame=counts.append)
    folder = tmp_path / "deep" / "room"
    assert counts == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in folder.iterdir()) == ["camera.yaml", "groundtruth_tum.txt", "rgb"]

    truth = read_tum(folder / "groundtruth_tum.txt")
    names = sorted(path.name for path in (folder / "rgb").iterdir())
    assert names == [f"{stamp}.jpg" for stamp in truth.stamps_ns]
    for written, exact in zip(truth.poses, simulation.ground_truth.poses, strict=True):
        assert written.is_close(exact, translation=1e-8, degrees=1e-5)

    image = cv2.imread(str(folder / "rgb" / names[2]))[..., ::-1].astype(int)
    assert np.abs(image - simulation.frame(2).image).mean() < 4


def test_the_camera_file_is_the_camera(simulation, tmp_path):
    write_folder(simulation, tmp_path / "room")
    camera = pycolmap.Camera(**yaml.safe_load((tmp_path / "room" / "camera.yaml").read_text()))
    assert (camera.model, camera.width, camera.height) == (simulation.camera.model, 96, 72)
    np.testing.assert_array_equal(camera.params, simulation.camera.params)


def test_an_existing_folder_is_kept_unless_told_otherwise(simulation, tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="exists already"):
        write_folder(simulation, folder)
    assert (folder / "mine.txt").read_text() == "keep me"

    write_folder(simulation, folder, overwrite=True)
    assert not (folder / "mine.txt").exists()
    assert (folder / "camera.yaml").is_file()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError("disk full")])
def test_an_interrupted_writer_leaves_nothing_and_the_old_folder_alone(simulation, tmp_path, failure):
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep me")

    def fail(count):
        if count == 3:
            raise failure

    with pytest.raises((KeyboardInterrupt, OutputError)):
        write_folder(simulation, folder, overwrite=True, on_frame=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["room"]
    assert (folder / "mine.txt").read_text() == "keep me"


def test_a_place_that_cannot_be_written_is_named(simulation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_folder(simulation, tmp_path / "file" / "room")
