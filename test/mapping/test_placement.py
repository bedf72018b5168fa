"""The frame that a map gets: which source is taken, what it claims, and contradictions that are refused."""

from itertools import pairwise

import numpy as np
import pycolmap
import pytest
from unscaled import MAP_FROM_SFM

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.mapping.config import FrameConfig, ReconstructionConfig, check_frame_config, scale_source
from visloc_ros.mapping.geo import local_positions
from visloc_ros.mapping.map_sources import SourceRecording
from visloc_ros.mapping.placement import place
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.scale import transform
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.sources.measurements import Accelerations, GeoPosition, Measurements, WheelOdometry

NEAR = GeoPosition(47.4, 8.5, 400.0)


@pytest.fixture
def reconstruction(scene):
    """The scene in a frame of arbitrary scale and axes, as structure from motion leaves it."""
    matches = scene.matches([(i, i + 1) for i in range(9)])
    result = triangulate_at_known_poses(scene.views, scene.poses, matches, ReconstructionConfig(threads=1))
    transform(result, MAP_FROM_SFM.inverse)
    return result


def references(scene):
    return {view.name: pose for view, pose in zip(scene.views, scene.poses, strict=True)}


def record(scene, **measurements):
    """One image a second."""
    stamps_ns = {view.name: index * NANOSECONDS for index, view in enumerate(scene.views)}
    return [SourceRecording(stamps_ns, Measurements(**measurements))]


def odometry(scene, factor=1.0):
    """The camera's own path, from its first pose, interpolated as finely as the scene allows."""
    first = scene.poses[0].inverse
    poses = [SE3((first @ pose).rotation, factor * (first @ pose).translation) for pose in scene.poses]
    return WheelOdometry(Trajectory(np.arange(len(poses)) * NANOSECONDS, tuple(poses)), is_of_camera=True)


def imu(scene, up=(0.0, 0.0, 9.81)):
    """Ten samples a second of a camera that stops at every image."""
    stamps_ns = np.arange(0, 9 * NANOSECONDS, NANOSECONDS // 10)
    path = odometry(scene).poses
    turns = [scene.poses[0].rotation @ path.interpolate(int(stamp_ns)).rotation for stamp_ns in stamps_ns]
    return Accelerations(stamps_ns, np.array([turn.T @ up for turn in turns]))


def gps(scene, sigma, stretch=1.0):
    """Positions of the cameras, x east, good to the stated error in metres."""
    noise = np.random.default_rng(0).normal(0.0, sigma, (len(scene.poses), 3))
    local = stretch * np.array([pose.translation for pose in scene.poses]) + noise
    geodetic = pycolmap.GPSTransform().enu_to_ellipsoid(local, NEAR.latitude, NEAR.longitude, NEAR.altitude)
    return {i * NANOSECONDS: GeoPosition(*values, sigma) for i, values in enumerate(geodetic.tolist())}


def place_it(reconstruction, recordings, **options):
    return place(reconstruction, None, FrameConfig(**options), at_references=False, recordings=recordings)


def assert_same_up_to_frame(scene, reconstruction, tolerance=1e-6):
    """Every motion from image to image is true in metres; points still project where they were seen."""
    poses = registered_poses(reconstruction)
    for (a, b), (true_a, true_b) in zip(pairwise(poses.values()), pairwise(scene.poses), strict=True):
        assert (a.inverse @ b).is_close(true_a.inverse @ true_b, tolerance, 1e-3)
    reconstruction.update_point_3d_errors()
    assert reconstruction.compute_mean_reprojection_error() < 1e-3


class TestNothingMeasured:
    def test_nothing_known_is_not_metric(self, reconstruction):
        placement = place_it(reconstruction, (), gravity="none")
        assert (placement.metric, placement.gravity_aligned) == (False, False)
        assert (placement.scale_source, placement.gravity_source) == ("none", "none")
        assert (placement.scale_error, placement.gravity_error_deg, dict(placement.geo_origin)) == (None, None, {})

    def test_a_distance_makes_it_metric_and_keeps_the_points_in_place(self, scene, reconstruction):
        true = float(np.linalg.norm(scene.poses[-1].translation - scene.poses[0].translation))
        placement = place_it(reconstruction, (), scale_distance=true)
        assert (placement.metric, placement.scale_source) == (True, "known distance")
        assert (placement.gravity_aligned, placement.gravity_source) == (True, "level camera")
        assert_same_up_to_frame(scene, reconstruction)


class TestReferences:
    def test_some_reference_poses_give_scale_and_frame(self, scene, reconstruction):
        some = dict(list(references(scene).items())[::3])
        placement = place(reconstruction, some, FrameConfig(), at_references=False)
        assert (placement.metric, placement.scale_source) == (True, "reference poses")
        assert not placement.gravity_aligned
        poses = registered_poses(reconstruction)
        assert all(poses[name].is_close(pose, 1e-6, 1e-4) for name, pose in references(scene).items())

    def test_reference_poses_of_other_images_are_refused(self, reconstruction):
        with pytest.raises(MapError, match="0 map images"):
            place(reconstruction, {}, FrameConfig(), at_references=False)

    def test_reference_poses_that_are_level_are_believed(self, scene, reconstruction):
        config = FrameConfig(gravity="reference")
        assert place(reconstruction, references(scene), config, at_references=False).gravity_aligned

    def test_reference_poses_with_another_axis_up_are_refused(self, scene, reconstruction):
        y_down = SE3(rotation_matrix([np.pi / 2, 0.0, 0.0]), np.zeros(3))
        turned = {name: y_down @ pose for name, pose in references(scene).items()}
        with pytest.raises(MapError, match=r"90 deg from what is up in the images.* without --gravity reference"):
            place(reconstruction, turned, FrameConfig(gravity="reference"), at_references=False)

    def test_reference_poses_of_a_camera_upside_down_are_believed_with_a_warning(self, scene, reconstruction, caplog):
        z_down = SE3(rotation_matrix([np.pi, 0.0, 0.0]), np.zeros(3))
        turned = {name: z_down @ pose for name, pose in references(scene).items()}
        config = FrameConfig(gravity="reference")
        assert place(reconstruction, turned, config, at_references=False).gravity_aligned
        assert "180 deg from what is up in the images" in caplog.text


class TestOdometry:
    @pytest.fixture
    def far(self, scene):
        """The scene's odometry in a world five times as large: half a metre from image to image and more."""
        return record(scene, odometry=odometry(scene, 5.0))

    def test_it_makes_the_map_metric(self, scene, reconstruction, far):
        placement = place_it(reconstruction, far)
        assert (placement.metric, placement.scale_source) == (True, "wheel odometry")
        assert placement.scale_error == pytest.approx(0.0, abs=1e-3)
        poses = list(registered_poses(reconstruction).values())
        true = 5.0 * np.linalg.norm(scene.poses[1].translation - scene.poses[0].translation)
        assert np.linalg.norm(poses[1].translation - poses[0].translation) == pytest.approx(true, rel=1e-3)

    def test_what_does_not_suffice_is_left_out_unless_it_was_asked_for(self, scene, reconstruction, caplog):
        short = record(scene, odometry=odometry(scene, 0.1))
        assert not place_it(reconstruction, short).metric
        assert "scale not taken from odometry" in caplog.text
        with pytest.raises(MapError, match="drive further"):
            place_it(reconstruction, short, scale="odometry")


class TestImu:
    def test_it_gives_the_direction_of_up(self, scene, reconstruction):
        placement = place_it(reconstruction, record(scene, accelerations=imu(scene)))
        assert (placement.gravity_aligned, placement.gravity_source) == (True, "imu")
        assert placement.gravity_error_deg < 1.0
        first = next(iter(registered_poses(reconstruction).values()))
        assert np.allclose(first.rotation[2], scene.poses[0].rotation[2], atol=1e-6)
        assert np.allclose(first.translation, 0.0)

    def test_what_shows_no_gravity_is_left_out_unless_it_was_asked_for(self, scene, reconstruction, caplog):
        in_g = record(scene, accelerations=imu(scene, up=(0.0, 0.0, 1.0)))
        assert place_it(reconstruction, in_g).gravity_source == "level camera"
        assert "gravity not taken from imu" in caplog.text
        with pytest.raises(MapError, match="m/s"):
            place_it(reconstruction, in_g, gravity="imu")


class TestPositions:
    def test_good_ones_give_metres_and_axes(self, scene, reconstruction):
        placement = place_it(reconstruction, record(scene, geo_positions=gps(scene, 0.005)))
        assert (placement.metric, placement.scale_source) == (True, "GPS")
        assert placement.gravity_aligned
        assert placement.scale_error < 0.02
        assert placement.geo_origin["latitude"] == pytest.approx(NEAR.latitude, abs=1e-4)
        origin = local_positions([NEAR], GeoPosition(**placement.geo_origin))[0]
        for pose, true in zip(registered_poses(reconstruction).values(), scene.poses, strict=True):
            assert pose.is_close(SE3(true.rotation, true.translation + origin), 0.05, 3.0)

    def test_an_imu_makes_their_axes_better(self, scene, reconstruction):
        measured = record(scene, geo_positions=gps(scene, 0.03), accelerations=imu(scene))
        placement = place_it(reconstruction, measured)
        assert (placement.scale_source, placement.gravity_source) == ("GPS", "imu")
        for pose, true in zip(registered_poses(reconstruction).values(), scene.poses, strict=True):
            assert np.allclose(pose.rotation[2], true.rotation[2], atol=0.02)

    def test_rough_ones_give_no_scale_and_say_so(self, scene, reconstruction, caplog):
        rough = record(scene, geo_positions=gps(scene, 1.0))
        placement = place_it(reconstruction, rough)
        assert (placement.metric, dict(placement.geo_origin)) == (False, {})
        assert "scale not taken from gps" in caplog.text
        assert placement.gravity_source == "level camera"
        with pytest.raises(MapError, match="give the scale only to"):
            place_it(reconstruction, rough, scale="gps")

    def test_without_gravity_they_give_only_the_scale(self, scene, reconstruction):
        placement = place_it(reconstruction, record(scene, geo_positions=gps(scene, 0.005)), gravity="none")
        assert (placement.metric, placement.gravity_aligned, dict(placement.geo_origin)) == (True, False, {})

    def test_they_are_left_alone_where_another_source_sets_the_scale(self, scene, reconstruction):
        both = record(scene, geo_positions=gps(scene, 0.005), odometry=odometry(scene, 5.0))
        assert place_it(reconstruction, both).scale_source == "wheel odometry"


class TestOptions:
    ODOMETRY = Measurements(odometry=WheelOdometry(Trajectory(np.array([0]), (SE3.identity(),)), is_of_camera=True))
    GPS = Measurements(geo_positions={0: NEAR})

    @pytest.mark.parametrize(
        ("options", "has_references", "measurements", "complaint"),
        [
            ({"scale_distance": 2.0}, True, (), "reference poses and frame.scale_distance"),
            ({"scale_distance": 2.0}, False, [ODOMETRY], "each set the scale"),
            ({}, True, [ODOMETRY], "each set the scale"),
            ({"scale": "gps"}, False, (), "frame.scale = gps needs images with GPS"),
            ({"scale": "odometry"}, False, [GPS], "needs a bag and its odometry_topic"),
            ({"scale": "distance"}, False, (), "needs frame.scale_distance"),
            ({"scale": "reference"}, False, (), "needs reference poses"),
            ({"scale": "none"}, True, (), "frame.scale = none contradicts reference poses"),
            ({"scale": "none", "scale_distance": 2.0}, False, (), "contradicts frame.scale_distance"),
            ({"scale": "gps"}, True, [GPS], "frame.scale = gps contradicts reference poses"),
            ({"gravity": "camera"}, True, (), "out of the frame of the reference poses"),
            ({"gravity": "imu"}, True, (), "out of the frame of the reference poses"),
            ({"gravity": "reference"}, False, (), "needs reference poses"),
            ({"gravity": "imu"}, False, [GPS], "frame.gravity = imu needs"),
            ({"gravity": "gps"}, False, (), "needs GPS positions to set the scale"),
            ({"gravity": "gps", "scale_distance": 1.0}, False, [GPS], "needs GPS positions to set the scale"),
        ],
    )
    def test_contradictions_are_refused(self, options, has_references, measurements, complaint):
        with pytest.raises(ConfigError, match=complaint):
            check_frame_config(FrameConfig(**options), has_references, measurements)

    @pytest.mark.parametrize(
        ("options", "measurements", "expected"),
        [
            ({}, (), "none"),
            ({}, [GPS], "gps"),
            ({}, [GPS, ODOMETRY], "odometry"),
            ({"scale_distance": 1.0}, [GPS], "distance"),
            ({"scale": "none"}, [GPS], "none"),
            ({"scale": "gps"}, [GPS], "gps"),
        ],
    )
    def test_precedence(self, options, measurements, expected):
        check_frame_config(FrameConfig(**options), False, measurements)
        assert scale_source(FrameConfig(**options), measurements) == expected

    def test_positions_in_photos_do_not_contradict_reference_poses(self):
        check_frame_config(FrameConfig(), True, [self.GPS])
