"""COLMAP's rigs and frames: read as pycolmap reads them, and kept by everything that copies a model."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.colmap_model import write_model
from visloc_ros.core.colmap_rigs import read_model_rigs, rig_of_model
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.mapping.config import SparsificationConfig
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.sources.rig_files import read_rig_file


def synthesized(num_rigs):
    pycolmap.set_random_seed(4)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=num_rigs, num_cameras_per_rig=3, num_frames_per_rig=4, num_points3D=80
    )
    return pycolmap.synthesize_dataset(options)


@pytest.fixture(scope="module")
def model():
    return synthesized(2)


def places_of(rig):
    return {sensor.id: SE3.from_rigid3d(place) for sensor, place in rig.non_ref_sensors.items()}


def frames_of(model):
    """The images and the pose of each frame, by the names of its images."""
    return {
        frozenset(model.images[one.id].name for one in frame.data_ids): (frame.rig_id, frame.rig_from_world.matrix())
        for frame in model.frames.values()
    }


def check_same(found, expected):
    """Same rigs with the same places, and the same frames with the same poses."""
    assert set(found.rigs) == set(expected.rigs)
    for rig_id, rig in expected.rigs.items():
        other = found.rigs[rig_id]
        assert other.ref_sensor_id == rig.ref_sensor_id
        assert places_of(other).keys() == places_of(rig).keys()
        for camera_id, place in places_of(rig).items():
            assert places_of(other)[camera_id].is_close(place, 1e-12, 1e-9)
    assert frames_of(found).keys() == frames_of(expected).keys()
    for names, (rig_id, pose) in frames_of(expected).items():
        assert frames_of(found)[names][0] == rig_id
        assert np.allclose(frames_of(found)[names][1], pose, atol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "text"])
def test_rigs_are_read_as_pycolmap_reads_them(model, kind, tmp_path):
    (model.write_text if kind == "text" else model.write_binary)(tmp_path)
    rigs = {next(iter(rig)): rig for rig in read_model_rigs(tmp_path)}
    assert len(rigs) == 2
    for expected in model.rigs.values():
        rig = rigs[expected.ref_sensor_id.id]
        assert rig[expected.ref_sensor_id.id].is_close(SE3.identity())
        assert rig.keys() - {expected.ref_sensor_id.id} == places_of(expected).keys()
        for camera_id, place in places_of(expected).items():
            assert rig[camera_id].is_close(place, 1e-12, 1e-9)


def test_a_model_round_trips_through_the_writer(model, tmp_path):
    write_model(tmp_path / "sfm", model)
    check_same(pycolmap.Reconstruction(tmp_path / "sfm"), model)


def test_a_model_that_is_thinned_out_keeps_its_rigs_and_frames(model):
    features = {
        image.name: LocalFeatures(
            np.array([point.xy for point in image.points2D], np.float32),
            np.ones(image.num_points2D(), np.float32),
            np.ones((image.num_points2D(), 8), np.float32),
            (1024, 768),
        )
        for image in model.images.values()
    }
    sparse, _ = sparsify(model, features, 8, SparsificationConfig(target_kb=0.1, min_keypoints=20))
    assert sparse.compute_num_observations() < model.compute_num_observations()
    check_same(sparse, model)
    for image_id, image in model.images.items():
        assert np.allclose(sparse.images[image_id].cam_from_world().matrix(), image.cam_from_world().matrix())


def test_a_rig_is_that_of_a_model_with_its_intrinsics(tmp_path):
    single = synthesized(1)
    for image in single.images.values():
        image.name = f"rig/left/{image.name}" if image.camera_id == 2 else image.name
    write_model(tmp_path / "sfm", single)
    rig = read_rig_file(tmp_path)
    assert rig.names == ("camera1", "left", "camera3")
    (expected,) = single.rigs.values()
    for name, camera_id in (("left", 2), ("camera3", 3)):
        assert rig.rig_from_camera(name).is_close(places_of(expected)[camera_id].inverse, 1e-12, 1e-9)
        assert rig.cameras[name].camera.params == pytest.approx(single.cameras[camera_id].params)


def test_a_model_without_one_rig_or_a_broken_one_is_refused(model, tmp_path):
    write_model(tmp_path / "two", model)
    with pytest.raises(CalibrationError, match="has 2 rigs of several cameras"):
        rig_of_model(tmp_path / "two")
    rigs = tmp_path / "two" / "rigs.bin"
    rigs.write_bytes(rigs.read_bytes()[:-10])
    with pytest.raises(MapError, match=r"rigs\.bin is truncated"):
        read_model_rigs(tmp_path / "two")
    rigs.unlink()
    assert read_model_rigs(tmp_path / "two") == []
