"""Frames without calibration in an exactly known map: which camera they get, and which poses are given with it."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from synthetic_map import MATCHER, FakeExtractor, World

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose, Reason
from visloc_ros.localization import AnchorConfig, AnchorEngine, find_camera
from visloc_ros.localization.evidence import Evidence
from visloc_ros.sources import RecalibratedSource

ZOOMED = pycolmap.Camera(model="SIMPLE_PINHOLE", width=1024, height=768, params=[900, 512, 384])


class Recording:
    """Frames that a camera takes at poses near those of the map's images; what they show is known, not extracted."""

    name, skipped, ground_truth, calibrated = "recording", 0, None, False

    def __init__(self, world, camera, count=8, calibration=None, **options):
        self.calibration = calibration or guess_calibration(camera.width, camera.height)
        self.camera = self.calibration.camera
        self.poses = [
            nudged(world.map.images[row % len(world.map.images)].map_from_camera, row) for row in range(count)
        ]
        self.features = [world.view(pose, camera=camera, **options) for pose in self.poses]
        self.extractor = FakeExtractor(self.features[0])
        self.extractor.extract = lambda image: self.features[int(image[0, 0])]

    def __len__(self):
        return len(self.poses)

    def __iter__(self):
        return (self.frame(row) for row in range(len(self)))

    def frame(self, row):
        image = np.full((self.camera.height, self.camera.width), row, np.uint8)
        return replace(World.frame(self), image=image, name=str(row), calibration=self.calibration)

    def engine(self, world):
        return AnchorEngine(world.map, AnchorConfig(), self.extractor, MATCHER)

    def error(self, anchor, row):
        return np.linalg.norm(anchor.map_from_camera.translation - self.poses[row].translation)


def nudged(pose, seed):
    rng = np.random.default_rng(seed)
    return SE3(pose.rotation @ rotation_matrix(rng.normal(0, 0.04, 3)), pose.translation + rng.normal(0, 0.1, 3))


def test_the_maps_own_camera_is_recognised_in_the_first_frame(world):
    recording = Recording(world, world.camera)
    anchor = recording.engine(world).localize(recording.frame(0))
    assert isinstance(anchor, AnchorPose)
    assert anchor.calibration.source is CalibrationSource.MAP
    assert anchor.calibration.camera is world.camera
    assert recording.error(anchor, 0) < 0.05


@pytest.fixture(scope="module")
def zoomed(world):
    """A recording by a camera that is not the map's, an engine that has seen it, and its answers."""
    recording = Recording(world, ZOOMED)
    engine = recording.engine(world)
    return recording, engine, [engine.localize(frame) for frame in recording]


def test_another_camera_of_the_same_size_is_estimated(zoomed):
    recording, _, anchors = zoomed
    assert all(isinstance(anchor, AnchorPose) for anchor in anchors)
    assert {anchor.calibration.source for anchor in anchors} == {CalibrationSource.ESTIMATED}
    assert anchors[-1].calibration.camera.mean_focal_length() == pytest.approx(900, rel=0.005)
    assert anchors[-1].calibration.focal_sigma < anchors[0].calibration.focal_sigma
    assert max(recording.error(anchor, row) for row, anchor in enumerate(anchors)) < 0.1


def test_a_principal_point_that_is_not_in_the_middle_is_in_the_covariance(world):
    """As far off as those of real cameras, it turns the camera by more than noise does."""
    beside = pycolmap.Camera(model="SIMPLE_PINHOLE", width=1024, height=768, params=[900, 512 - 13, 384 + 12])
    recording = Recording(world, beside)
    engine = recording.engine(world)
    for row, anchor in enumerate(map(engine.localize, recording)):
        assert anchor.calibration.source is CalibrationSource.ESTIMATED
        error = pose_difference(recording.poses[row], anchor.map_from_camera)
        assert np.degrees(np.linalg.norm(error[3:])) > 0.7
        for part in (slice(3), slice(3, 6)):
            assert error[part] @ np.linalg.solve(anchor.covariance[part, part], error[part]) < 3.0**2


def test_what_is_learnt_of_one_camera_is_not_used_for_another(zoomed):
    recording, engine, _ = zoomed
    other = guess_calibration(1024, 768)
    assert engine.has_settled(recording.calibration)
    assert not engine.has_settled(other)
    assert engine.best_calibration(other) is other


def test_a_known_camera_that_is_wrong_is_refused_not_replaced(world):
    wrong = CameraCalibration(with_focal_length(ZOOMED, 1500.0), CalibrationSource.RECORDED)
    recording = Recording(world, ZOOMED, calibration=wrong)
    engine = recording.engine(world)
    assert {engine.localize(frame).reason for frame in recording} == {Reason.INTRINSICS_MISMATCH}
    assert engine.best_calibration(wrong) is wrong


@pytest.mark.parametrize("factor", [0.95, 1.05, 1.08])
def test_a_given_focal_length_that_is_wrong_by_some_per_cent_is_in_the_covariance(world, factor, caplog):
    focal_length = factor * world.camera.mean_focal_length()
    given = CameraCalibration(with_focal_length(world.camera, focal_length), CalibrationSource.GIVEN)
    recording = Recording(world, world.camera, count=10, noise_px=0.7)
    recording.calibration, recording.camera = given, given.camera
    engine = recording.engine(world)
    with caplog.at_level("WARNING"):
        anchors = [engine.localize(frame) for frame in recording]
    assert all(isinstance(anchor, AnchorPose) for anchor in anchors), anchors
    for row, anchor in enumerate(anchors):
        error = recording.error(anchor, row)
        assert error > 0.05
        difference = recording.poses[row].translation - anchor.map_from_camera.translation
        assert difference @ np.linalg.solve(anchor.covariance[:3, :3], difference) < 3.5**2
        assert anchor.calibration.focal_sigma == pytest.approx(abs(np.log(factor)), rel=0.4)
    [warning] = [record.getMessage() for record in caplog.records]
    assert f"focal length of {focal_length:.0f} px contradicts the map" in warning


def test_a_right_calibration_is_not_doubted(world, caplog):
    recording = Recording(
        world,
        world.camera,
        count=10,
        calibration=CameraCalibration(world.camera, CalibrationSource.GIVEN),
        noise_px=0.7,
    )
    engine = recording.engine(world)
    with caplog.at_level("WARNING"):
        anchors = [engine.localize(frame) for frame in recording]
    assert [anchor.calibration.focal_sigma for anchor in anchors] == [0.0] * 10
    assert not caplog.records


def test_a_frame_that_was_zoomed_among_others_is_refused(world):
    recording = Recording(world, ZOOMED)
    recording.features[7] = world.view(recording.poses[7], camera=with_focal_length(ZOOMED, 1400.0))
    engine = recording.engine(world)
    results = [engine.localize(frame) for frame in recording]
    assert all(isinstance(result, AnchorPose) for result in results[:7])
    assert results[7].reason is Reason.INTRINSICS_MISMATCH


def zoom_from(world, recording, first, focal_length):
    """Frames from one on show what a camera with another focal length sees."""
    camera = with_focal_length(recording.camera, focal_length)
    for row in range(first, len(recording)):
        recording.features[row] = world.view(recording.poses[row], camera=camera, noise_px=0.7)


@pytest.mark.parametrize("factor", [0.6, 0.85, 1.2, 1.5])
@pytest.mark.parametrize("is_given", [True, False])
def test_a_camera_that_zooms_is_refused_then_estimated_anew(world, factor, is_given, caplog):
    given = CameraCalibration(world.camera, CalibrationSource.GIVEN) if is_given else None
    recording = Recording(world, world.camera, count=24, calibration=given, noise_px=0.7)
    focal_length = factor * world.camera.mean_focal_length()
    recording.camera = world.camera
    zoom_from(world, recording, 10, focal_length)
    engine = recording.engine(world)
    answers = [engine.localize(frame) for frame in recording]
    assert all(isinstance(answer, AnchorPose) for answer in answers[:10])
    assert {answer.reason for answer in answers[10:12]} == {Reason.INTRINSICS_MISMATCH}
    for row, answer in enumerate(answers):
        if isinstance(answer, AnchorPose):
            difference = recording.poses[row].translation - answer.map_from_camera.translation
            assert difference @ np.linalg.solve(answer.covariance[:3, :3], difference) < 4.5**2
    assert all(isinstance(answer, AnchorPose) for answer in answers[-5:])
    assert answers[-1].calibration.camera.mean_focal_length() == pytest.approx(focal_length, rel=0.02)
    assert "a camera's focal length has changed" in caplog.text


@pytest.mark.parametrize("is_given", [True, False])
def test_a_camera_of_which_a_part_is_shown_may_have_its_middle_elsewhere(world, is_given):
    """An enlarged part is not distinguished from a zoom; it may be any part, and each turns the camera."""
    given = CameraCalibration(world.camera, CalibrationSource.GIVEN) if is_given else None
    recording = Recording(world, world.camera, count=24, calibration=given, noise_px=0.7)
    recording.camera = world.camera
    camera = with_focal_length(world.camera, 1.25 * world.camera.mean_focal_length())
    camera.principal_point_x += 0.125 * camera.width
    for row in range(10, len(recording)):
        recording.features[row] = world.view(recording.poses[row], camera=camera, noise_px=0.7)
    engine = recording.engine(world)
    answers = [engine.localize(frame) for frame in recording]
    found = [(row, one) for row, one in enumerate(answers) if row >= 13 and isinstance(one, AnchorPose)]
    assert len(found) > 5
    for row, answer in found:
        error = pose_difference(recording.poses[row], answer.map_from_camera)
        for part in (slice(3), slice(3, 6)):
            assert error[part] @ np.linalg.solve(answer.covariance[part, part], error[part]) < 5.0**2


@pytest.mark.parametrize(("by_given", "is_found"), [(5, False), (10_000, True)])
def test_after_a_contradiction_the_focal_length_that_finds_more_decides(world, monkeypatch, by_given, is_found):
    """Points around the pose of a wrong camera agree with it."""
    given = CameraCalibration(world.camera, CalibrationSource.GIVEN)
    recording = Recording(world, world.camera, count=24, calibration=given, noise_px=0.7)
    zoom_from(world, recording, 10, 1.25 * world.camera.mean_focal_length())
    engine = recording.engine(world)
    answers = [engine.localize(recording.frame(row)) for row in range(11)]
    assert answers[10].reason is Reason.INTRINSICS_MISMATCH
    find, misled = engine._find, replace(answers[9], num_inliers=by_given)
    monkeypatch.setattr(
        engine, "_find", lambda query, prior: misled if query.frame.calibration is given else find(query, prior)
    )
    assert isinstance(engine.localize(recording.frame(11)), AnchorPose) == is_found


def test_a_single_zoomed_frame_changes_nothing(world):
    given = CameraCalibration(world.camera, CalibrationSource.GIVEN)
    recording = Recording(world, world.camera, count=12, calibration=given, noise_px=0.7)
    zoomed_ = with_focal_length(world.camera, 1.3 * world.camera.mean_focal_length())
    recording.features[8] = world.view(recording.poses[8], camera=zoomed_)
    engine = recording.engine(world)
    answers = [engine.localize(frame) for frame in recording]
    assert answers[8].reason is Reason.INTRINSICS_MISMATCH
    assert all(answer.calibration is given for row, answer in enumerate(answers) if row > 8)


def test_one_image_counts_once_however_often_evidence_of_it_is_gathered(world, monkeypatch):
    recording = Recording(world, ZOOMED, count=1)
    once, often = recording.engine(world), recording.engine(world)
    gather = often._searcher.gather

    def gather_again(query, prior):
        found = list(gather(query, prior))
        return iter([*found, *found, *found])

    learn = AnchorEngine._learn_camera
    monkeypatch.setattr(often._searcher, "gather", gather_again)
    monkeypatch.setattr(AnchorEngine, "_learn_camera", lambda *given: learn(*given) or Reason.UNKNOWN_INTRINSICS)
    for engine in (once, often):
        engine.localize(recording.frame(0))
    one, other = (engine.best_calibration(recording.calibration) for engine in (once, often))
    assert one.focal_sigma > 0.0
    assert other.focal_sigma == pytest.approx(one.focal_sigma)


def test_what_a_search_refuses_keeps_its_reason_for_an_unknown_camera(world, monkeypatch):
    recording = Recording(world, ZOOMED, count=1)
    engine = recording.engine(world)
    ambiguous = Evidence(refusal=Reason.AMBIGUOUS_PLACE)
    monkeypatch.setattr(engine._searcher, "gather", lambda query, prior: iter([ambiguous]))
    assert engine.localize(recording.frame(0)).reason is Reason.AMBIGUOUS_PLACE


@pytest.fixture(scope="module")
def wall():
    """A map of a wall, its points as flat as triangulated ones are, and a camera that sees it from the front."""
    world = World(seed=3)
    extent = np.abs(world.map.points[:, :2]).max()
    flat = world.map.points * [1.0, 1.0, 0.0]
    flat[:, 2] = np.random.default_rng(0).normal(0.0, 0.01 * extent, len(flat))
    world.points = flat
    world.map = replace(world.map, points=flat)
    camera = pycolmap.Camera(model="SIMPLE_PINHOLE", width=1000, height=1000, params=[1000, 500, 500])
    return world, camera, SE3(np.eye(3), [0.0, 0.0, -2.2 * extent])


def test_a_single_photo_of_a_wall_has_no_pose_though_its_points_agree(wall):
    world, camera, front = wall
    recording = Recording(world, camera, count=1)
    recording.features[0] = world.view(front, camera=camera)
    rejection = recording.engine(world).localize(recording.frame(0))
    assert rejection.reason is Reason.UNKNOWN_INTRINSICS
    assert rejection.counts["inliers"] > 150


def test_with_exif_data_it_has_one_and_gives_the_distance_with_their_uncertainty(wall):
    world, camera, front = wall
    exif = CameraCalibration(with_focal_length(camera, 1030.0), CalibrationSource.EXIF, 0.04)
    recording = Recording(world, camera, count=1, calibration=exif)
    recording.features[0] = world.view(front, camera=camera)
    anchor = recording.engine(world).localize(recording.frame(0))
    assert isinstance(anchor, AnchorPose)
    assert anchor.calibration.source is CalibrationSource.EXIF
    distance = -front.translation[2]
    sigma = np.sqrt(anchor.covariance[2, 2])
    assert 0.02 * distance < sigma < 0.06 * distance
    assert abs(anchor.map_from_camera.translation[2] - front.translation[2]) < 2.0 * sigma


def test_the_camera_of_a_recording_is_found_before_its_frames_are_used(world):
    recording = Recording(world, ZOOMED)
    calibration = find_camera(recording.engine(world), recording)
    assert calibration.source is CalibrationSource.ESTIMATED
    assert calibration.camera.mean_focal_length() == pytest.approx(900, rel=0.005)
    frames = list(RecalibratedSource(recording, calibration))
    assert all(frame.camera is calibration.camera and frame.calibration is calibration for frame in frames)
    assert [frame.name for frame in frames] == [str(row) for row in range(len(recording))]


def test_a_known_camera_is_not_looked_for(world):
    known = CameraCalibration(ZOOMED, CalibrationSource.GIVEN)
    recording = Recording(world, ZOOMED, calibration=known)
    assert find_camera(recording.engine(world), recording) is known
    assert recording.extractor.calls == 0


def test_a_recording_of_another_place_keeps_its_guess(world):
    recording = Recording(World(seed=9), ZOOMED)
    assert find_camera(recording.engine(world), recording) is recording.calibration


def test_photos_of_other_cameras_stay_as_they_are(world):
    recording, other = Recording(world, ZOOMED, count=2), guess_calibration(1024, 768)
    recording.frame = lambda row: replace(
        Recording.frame(recording, row), calibration=other if row else recording.calibration
    )
    found = CameraCalibration(ZOOMED, CalibrationSource.ESTIMATED, 0.01)
    assert [frame.calibration for frame in RecalibratedSource(recording, found)] == [found, other]
