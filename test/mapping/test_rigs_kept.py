"""The rigs and frames of a COLMAP model last through export, import and another frame of the map."""

import numpy as np
import pycolmap
import pytest
from hloc_room import Room

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.hloc_export import export_hloc
from visloc_ros.mapping.hloc_import import import_hloc
from visloc_ros.sources.rig_files import read_rig_file

MOVED = Sim3.from_se3(SE3.from_rotation_vector([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]), scale=2.0)


@pytest.fixture(scope="module")
def room():
    return Room(num_cameras_per_rig=2)


def frames_of(model):
    """Pose and rig of each frame, by the names of its images."""
    return {
        frozenset(model.images[one.id].name for one in frame.data_ids): (frame.rig_id, frame.rig_from_world.matrix())
        for frame in model.frames.values()
    }


def check_same(folder, expected):
    found = frames_of(pycolmap.Reconstruction(folder / "sfm"))
    assert found.keys() == frames_of(expected).keys()
    assert {len(names) for names in found} == {2}
    for names, (rig_id, pose) in frames_of(expected).items():
        assert found[names][0] == rig_id
        assert np.allclose(found[names][1], pose, atol=1e-12)


def test_export_and_import_keep_rigs_and_frames(room, tmp_path):
    room.save(tmp_path / "map")
    export_hloc(tmp_path / "map", tmp_path / "hloc")
    check_same(tmp_path / "hloc", room.reconstruction)
    import_hloc(tmp_path / "hloc", tmp_path / "again", metric=True)
    check_same(tmp_path / "again", room.reconstruction)
    assert read_rig_file(tmp_path / "again").names == ("camera1", "camera2")


def test_a_map_in_another_frame_keeps_its_rig_in_the_new_scale(room, tmp_path):
    room.save(tmp_path / "map")
    fit = MapFit(MOVED, "a test", {}, metric=True, gravity_aligned=False)
    align_map(tmp_path / "map", tmp_path / "moved", lambda _: fit)
    moved = pycolmap.Reconstruction(room.reconstruction)
    moved.transform(pycolmap.Sim3d(MOVED.scale, pycolmap.Rotation3d(MOVED.rotation), MOVED.translation))
    check_same(tmp_path / "moved", moved)
    before, after = (read_rig_file(tmp_path / name).rig_from_camera("camera2") for name in ("map", "moved"))
    assert after.translation == pytest.approx(2.0 * before.translation)
