import cv2
import numpy as np
import pycolmap
import pytest
import yaml

from visloc_ros.core.errors import OutputError
from visloc_ros.core.trajectory import read_tum
from visloc_ros.simulation.sequence import SimulationConfig, simulate, write_folder


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
