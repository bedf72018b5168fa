"""Photos in a simulated street, located by matches with tagged views: every error is known."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from plugins.visloc_geo.testing.street_canyon import CanyonConfig, CanyonTrial, TagErrors, simulate_canyon
from visloc_geo.orientation import rotation_of
from visloc_geo.solving import GeoKind, GeoReason, GeoRejection, PhotoPose, Reference, SolvingConfig, Tag, locate
from visloc_geo.solving.tag_answer import nearest_view
from visloc_geo.solving.two_view import verify
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.tangent import pose_difference

EXACT, USUAL = TagErrors(), TagErrors(1.5, 1.0, 0.5)


def located(
    trial: CanyonTrial, config: SolvingConfig | None = None, prior: Tag | None = None, focal_sigma: float = 0.0
) -> PhotoPose:
    pose = locate(trial.camera, trial.keypoints, trial.references, config, prior, focal_sigma)
    assert isinstance(pose, PhotoPose), pose
    return pose


@lru_cache
def usual(seed: int, photos: bool = False) -> tuple[CanyonTrial, PhotoPose]:
    """A trial with errors of tags as usual, and the pose that is found."""
    trial = simulate_canyon(seed, CanyonConfig(errors=USUAL, photos=photos))
    return trial, located(trial)


def error_of(pose: PhotoPose, trial: CanyonTrial) -> np.ndarray:
    assert pose.enu_from_camera is not None
    return pose_difference(trial.enu_from_camera, pose.enu_from_camera)


def nees(pose: PhotoPose, trial: CanyonTrial) -> float:
    error = error_of(pose, trial)
    return float(error @ np.linalg.solve(pose.covariance, error))


@pytest.mark.parametrize("policy", ["displacement", "expansion"])
def test_the_pose_is_exact_without_noise(policy: str) -> None:
    trial = simulate_canyon(1, CanyonConfig(noise_px=0.0))
    five = replace(trial, references=trial.references[:5])
    pose = located(five, SolvingConfig(policy=policy))
    error = error_of(pose, five)
    assert pose.kind is GeoKind.SOLVED
    assert np.linalg.norm(error[:3]) < 0.01
    assert np.degrees(np.linalg.norm(error[3:])) < 0.02


@pytest.mark.parametrize("photos", [False, True])
def test_errors_of_tags_are_in_the_covariance(photos: bool) -> None:
    trials, poses = zip(*(usual(seed, photos) for seed in range(3)), strict=True)
    squares = [nees(pose, trial) for pose, trial in zip(poses, trials, strict=True)]
    assert all(pose.kind is GeoKind.SOLVED and 0.3 < pose.horizontal_sigma_m < 1.5 for pose in poses)
    assert np.mean(squares) < 12.0
    assert max(squares) < 22.5


@pytest.mark.parametrize(("seed", "errors"), [(1124, TagErrors(3.0, 2.0, 1.0)), (100, USUAL)])
def test_pairs_that_see_one_house_front_do_not_lead_astray(seed: int, errors: TagErrors) -> None:
    """Of these photos some pairs with many matches have a motion that is 40 degrees wrong."""
    trial = simulate_canyon(seed, CanyonConfig(errors=errors, photos=True))
    pose = located(trial)
    assert pose.kind is GeoKind.SOLVED
    assert nees(pose, trial) < 22.5


@pytest.mark.parametrize(("factor", "photos"), [(1.4, False), (0.8, True)])
def test_a_focal_length_that_is_not_known_is_estimated_with_the_pose(factor: float, photos: bool) -> None:
    trial, exact = usual(0, photos)
    camera = with_focal_length(trial.camera, factor * trial.camera.mean_focal_length())
    pose = located(replace(trial, camera=camera), focal_sigma=0.35)
    assert np.exp(pose.log_focal) * factor == pytest.approx(1.0, abs=4.0 * pose.focal_sigma)
    assert 0.0 < pose.focal_sigma < 0.02
    assert nees(pose, trial) < 22.5
    assert np.linalg.norm(pose.position - exact.position) < 0.3
    assert pose.horizontal_sigma_m >= exact.horizontal_sigma_m


@pytest.mark.parametrize("stated_sigma", [0.04, 0.0])
@pytest.mark.parametrize(("factor", "photos"), [(1.4, False), (0.8, True)])
def test_a_stated_focal_length_that_the_points_contradict_is_estimated(
    factor: float, photos: bool, stated_sigma: float
) -> None:
    trial, exact = usual(0, photos)
    camera = with_focal_length(trial.camera, factor * trial.camera.mean_focal_length())
    pose = located(replace(trial, camera=camera), focal_sigma=stated_sigma)
    assert np.exp(pose.log_focal) * factor == pytest.approx(1.0, abs=4.0 * pose.focal_sigma)
    assert nees(pose, trial) < 22.5
    assert np.linalg.norm(pose.position - exact.position) < 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("photos", [False, True])
def test_a_part_of_a_photo_that_is_taken_for_a_whole_one_gives_no_pose(seed: int, photos: bool) -> None:
    trial, _ = usual(seed, photos)
    found = locate(trial.camera, trial.keypoints - [trial.camera.width / 8.0, 0.0], trial.references)
    assert isinstance(found, GeoRejection)
    assert found.reason is GeoReason.INTRINSICS_MISMATCH


def test_the_same_matches_give_the_same_pose() -> None:
    trial, first = usual(2)
    second = located(trial)
    assert np.array_equal(first.position, second.position)
    assert np.array_equal(first.covariance, second.covariance)


def test_one_panorama_gives_its_position_with_the_right_heading() -> None:
    trial = simulate_canyon(6, CanyonConfig(panoramas=1))
    pose = located(trial)
    assert pose.kind is GeoKind.TAG
    assert np.array_equal(pose.position, trial.references[0].tag.position)
    assert pose.horizontal_sigma_m >= SolvingConfig().spacing_m
    assert abs(np.degrees(error_of(pose, trial)[5])) < 1.0


def test_a_heading_by_one_house_front_is_as_doubtful_as_its_two_explanations() -> None:
    trials = [simulate_canyon(seed, CanyonConfig(panoramas=1)) for seed in range(12)]
    poses = [located(trial) for trial in trials]
    errors = np.array([error_of(pose, trial)[3:] for pose, trial in zip(poses, trials, strict=True)])
    sigmas = np.array([np.sqrt(np.diag(pose.covariance)[3:]) for pose in poses])
    assert np.abs(errors / sigmas).max() < 3.0
    assert np.median(np.degrees(sigmas)) < 10.0


def test_the_best_tag_is_that_of_the_nearest_view() -> None:
    found, nearest = [], []
    for seed in range(6):
        trial = simulate_canyon(seed, CanyonConfig(photos=True))
        view = nearest_view(verify(trial.camera, trial.keypoints, trial.references, SolvingConfig()))
        at = trial.enu_from_camera.translation
        found.append(np.linalg.norm(view.reference.tag.position - at))
        nearest.append(min(np.linalg.norm(one.tag.position - at) for one in trial.references))
    assert np.median(found) < 1.5 * np.median(nearest)
    assert max(found) < 10.0


def test_one_photo_without_heading_gives_a_position_without_rotation() -> None:
    trial = simulate_canyon(4, CanyonConfig(photos=True))
    alone = replace(trial, references=trial.references[:1])
    pose = located(alone)
    assert pose.kind is GeoKind.TAG
    assert pose.enu_from_camera is None
    assert pose.angles_deg is None
    assert np.isnan(pose.covariance[3:]).all()
    assert np.isfinite(pose.covariance[:3, :3]).all()


def test_points_far_ahead_of_a_row_of_views_give_no_solved_pose() -> None:
    """All rays are nearly one line: an exact fit of any position along it."""
    rng = np.random.default_rng(0)
    camera = simulate_canyon(0).camera
    at = [np.array([0.0, 10.0 * number, 0.0]) for number in range(6)]
    points = np.column_stack([rng.uniform(-900, 900, 400), rng.uniform(2000, 3000, 400), rng.uniform(-900, 900, 400)])
    seen = [(points - centre) @ rotation_of(0.0) for centre in at]
    pixels = [320.0 + 320.0 * one[:, :2] / one[:, 2:] + rng.normal(0.0, 0.5, (400, 2)) for one in seen]
    pairs = np.column_stack([np.arange(400)] * 2)
    references = [
        Reference(f"{number}", camera, Tag(centre, rotation_of(0.0)), pixels[number], pairs, np.ones(400))
        for number, centre in enumerate(at[1:], start=1)
    ]
    pose = locate(camera, pixels[0], references)
    assert isinstance(pose, PhotoPose)
    assert pose.kind is GeoKind.TAG
    assert np.linalg.norm(pose.position - at[0]) < 4.0 * pose.horizontal_sigma_m


def test_wrong_matches_give_no_pose() -> None:
    trial = simulate_canyon(5, CanyonConfig(wrong_matches=1.0))
    answer = locate(trial.camera, trial.keypoints, trial.references)
    assert isinstance(answer, GeoRejection)
    assert answer.reason is GeoReason.FEW_MATCHES
    assert answer.best_tag is None


def test_no_views_give_no_pose() -> None:
    trial = simulate_canyon(5)
    answer = locate(trial.camera, trial.keypoints, [])
    assert isinstance(answer, GeoRejection)
    assert answer.reason is GeoReason.NO_REFERENCES
    assert str(answer).startswith("NO_REFERENCES: no geotagged view")


def test_a_tag_far_off_does_not_carry_the_pose_along() -> None:
    trial = simulate_canyon(6, CanyonConfig(errors=TagErrors(0.5, 0.5, 0.3), photos=True))
    wrong = trial.references[2]
    moved = replace(wrong, tag=replace(wrong.tag, position=np.add(wrong.tag.position, [30.0, -20.0, 0.0])))
    answer = locate(trial.camera, trial.keypoints, [*trial.references[:2], moved, *trial.references[3:]])
    if isinstance(answer, PhotoPose):
        assert np.linalg.norm(error_of(answer, trial)[:2]) < 4.0 * answer.horizontal_sigma_m
    else:
        assert answer.reason is GeoReason.TAGS_CONTRADICT


def test_sigmas_stated_too_small_are_noticed() -> None:
    errors = TagErrors(3.0, 2.0, 1.0)
    trials = [simulate_canyon(seed, CanyonConfig(errors=errors, stated=errors.times(0.25))) for seed in range(2)]
    assert all(located(trial).tag_error_ratio > 2.0 for trial in trials)


def test_the_photos_own_position_is_used_only_where_it_agrees() -> None:
    trial = simulate_canyon(7, CanyonConfig(errors=TagErrors(3.0, 2.0, 1.0)))
    trial = replace(trial, references=trial.references[:5])
    truth = trial.enu_from_camera
    alone = located(trial)
    near = located(trial, prior=Tag(truth.translation, truth.rotation, 1.0, 1.0, heading_sigma_deg=1.0))
    far = located(trial, prior=Tag(np.add(truth.translation, [2000.0, 0.0, 0.0]), None, 1.0, 1.0))
    assert near.horizontal_sigma_m < 0.8 * alone.horizontal_sigma_m
    assert np.linalg.norm(error_of(near, trial)[:2]) < np.linalg.norm(error_of(alone, trial)[:2])
    assert np.linalg.norm(far.position - alone.position) < 0.5


@pytest.mark.parametrize("config", [
    CanyonConfig(errors=TagErrors(3.0, 2.0, 1.0), photos=True, correlation_m=20.0),
    CanyonConfig(errors=TagErrors(3.0, 2.0, 1.0), photos=True, correlation_m=100.0),
    CanyonConfig(errors=TagErrors(3.0, 2.0, 1.0), correlation_m=100.0, same_compass=True),
])  # fmt: skip
def test_errors_that_neighbouring_tags_share_are_in_the_covariance(config: CanyonConfig) -> None:
    """Taken as independent, they are 1.2 to 1.7 times as large as the covariance says, and single ones 5.5 sigma."""
    trials = [simulate_canyon(seed, config) for seed in range(5000, 5012)]
    poses = [located(trial) for trial in trials]
    squares = [nees(pose, trial) / 6.0 for pose, trial in zip(poses, trials, strict=True)]
    assert 0.5 < np.mean(squares) < 1.6
    for pose, trial in zip(poses, trials, strict=True):
        for half in (slice(0, 3), slice(3, 6)):
            error = error_of(pose, trial)[half]
            assert np.sqrt(error @ np.linalg.solve(pose.covariance[half, half], error)) < 5.0


COMPASS = CanyonConfig(errors=TagErrors(3.0, 5.0, 2.0), photos=True)


@pytest.mark.parametrize("compass", ["right", "stuck", "turned"])
def test_headings_that_contradict_each_other_or_the_positions_lead_no_photo_astray(compass: str) -> None:
    trials = [simulate_canyon(seed, replace(COMPASS, compass=compass)) for seed in range(300, 310)]
    answers = [locate(trial.camera, trial.keypoints, trial.references) for trial in trials]
    poses = [(pose, trial) for pose, trial in zip(answers, trials, strict=True) if isinstance(pose, PhotoPose)]
    assert len(poses) >= 9
    for pose, trial in poses:
        assert pose.rotation is not None
        error = error_of(pose, trial)
        assert nees(pose, trial) < 25.0
        assert abs(np.degrees(error[5])) < 30.0
    num_left_out = [len(pose.wrong_headings) for pose, _ in poses]
    assert (np.median(num_left_out) == 0) == (compass == "right")
