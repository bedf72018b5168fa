"""Files that are not what their names say, of other programs, or written as other systems write them."""

import json
import logging
import pickle
import unicodedata

import av
import numpy as np
import pycolmap
import pytest
from source_data import HEIGHT, WIDTH, colour_image, raw_bag, write_images

from visloc_ros.core.errors import CalibrationError, MapError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory_files import read_trajectory
from visloc_ros.sources import open_source
from visloc_ros.sources.camera_files import read_camera_file
from visloc_ros.sources.named_poses import NamedPoses
from visloc_ros.sources.pose_files import read_poses

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Quota exceeded</title></head></html>"
TUM = "".join(f"{1.7e9 + 0.1 * index:.6f} {0.1 * index:.6f} 0 0 0 0 0 1\n" for index in range(5))
ROS = """image_width: 640
image_height: 480
camera_matrix: {rows: 3, cols: 3, data: [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.0]}
"""


@pytest.mark.parametrize(("content", "words"), [(POINTER, "'git lfs pull'"), (PAGE, "a web page")])
@pytest.mark.parametrize(
    ("name", "read", "kind"),
    [
        ("folder/a.jpg", lambda path: open_source(path.parent), SourceError),
        ("a.mp4", open_source, SourceError),
        ("a.mcap", open_source, SourceError),
        ("a.db3", open_source, SourceError),
        ("bag/a.mcap", lambda path: open_source(path.parent), SourceError),
        ("camera.yaml", read_camera_file, CalibrationError),
        ("poses.txt", read_trajectory, SourceError),
        ("images.bin", read_poses, MapError),
        ("map.tar.gz", open_map, MapError),
    ],
)
def test_what_only_stands_for_a_file_is_named(tmp_path, name, read, kind, content, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(kind, match=words):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_texts_as_windows_writes_them(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "camera.yaml").write_bytes((mark + ROS.replace("\n", "\r\n")).encode(encoding))
    assert read_camera_file(tmp_path / "camera.yaml").params[4:].tolist() == [0.1, -0.2, 0.001, 0.002]
    (tmp_path / "poses.txt").write_bytes((mark + TUM.replace("\n", "\r\n")).encode(encoding))
    assert read_trajectory(tmp_path / "poses.txt").stamps_ns[1] == 1_700_000_000_100_000_000


@pytest.mark.parametrize(
    "text",
    [
        TUM.replace(" ", ";"),
        TUM.replace(" ", ";").replace(".", ","),
        '"t","x","y","z","qx","qy","qz","qw"\n' + TUM.replace(" ", ","),
        "t;x;y;z;qx;qy;qz;qw\n" + TUM.replace(" ", ";").replace(".", ","),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, text):
    (tmp_path / "poses.csv").write_text(text)
    read = read_trajectory(tmp_path / "poses.csv")
    assert read.stamps_ns[1] == 1_700_000_000_100_000_000
    np.testing.assert_allclose([pose.translation[0] for pose in read.poses], [0.0, 0.1, 0.2, 0.3, 0.4])


def test_calibrations_of_other_programs_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", mtx=np.eye(3), dist=np.full(5, np.pi))
    np.save(tmp_path / "a.npy", np.full((3, 3), np.pi))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"mtx": np.full(3, np.pi)}))
    (tmp_path / "ost.txt").write_text(
        "# oST version 5.0 parameters\n\n[image]\n\nwidth\n640\n\ncamera matrix\n525 0 1\n"
    )
    frames = [{"file_path": "a.png", "fl_x": 500.0}]
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))
    for name, words in (
        ("a.npz", r"a ZIP archive \(as NumPy's .npz\), no text"),
        ("a.npy", "an array of NumPy, no text"),
        ("a.pkl", "a pickle of Python"),
        ("ost.txt", r"INI format of camera_calibration is not read: give the YAML beside it \(ost.yaml\)"),
        ("transforms.json", "its frames have a camera each"),
    ):
        with pytest.raises(CalibrationError, match=words):
            read_camera_file(tmp_path / name)


@pytest.mark.parametrize(("is_fisheye", "model"), [(False, "OPENCV"), (True, "OPENCV_FISHEYE")])
def test_transforms_of_instant_ngp(tmp_path, is_fisheye, model):
    numbers = {"k1": 0.1, "k2": -0.2, "k3": 0.0, "k4": 0.0, "p1": 0.001, "p2": 0.002}
    if is_fisheye:
        numbers |= {"k3": 0.01, "k4": 0.02}
    values = {"camera_angle_x": 1.1, "fl_x": 500.0, "fl_y": 501.0, "cx": 320.0, "cy": 240.0, "w": 640.0, "h": 480.0}
    (tmp_path / "transforms.json").write_text(json.dumps(values | numbers | {"is_fisheye": is_fisheye, "frames": []}))
    camera = read_camera_file(tmp_path / "transforms.json")
    names = ("k1", "k2", "k3", "k4") if is_fisheye else ("k1", "k2", "p1", "p2")
    assert (camera.model.name, camera.params.tolist()) == (
        model,
        [500, 501, 320, 240, *(numbers[one] for one in names)],
    )


@pytest.mark.parametrize("count", [1, 2])
def test_cameras_of_a_binary_model(tmp_path, count):
    model = pycolmap.Reconstruction()
    for number in range(1, count + 1):
        model.add_camera(
            pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 501, 320, 240], camera_id=number)
        )
    model.write_binary(str(tmp_path))
    if count == 1:
        assert read_camera_file(tmp_path / "cameras.bin").params.tolist() == [500, 501, 320, 240]
    else:
        with pytest.raises(CalibrationError, match=r"the file has 2 \(1, 2\)"):
            read_camera_file(tmp_path / "cameras.bin")


@pytest.mark.parametrize(
    ("in_model", "in_folder"),
    [
        ("cam\\001.jpg", "001.jpg"),
        ("cam\\001.jpg", "cam/001.jpg"),
        (unicodedata.normalize("NFD", "Küche.jpg"), "Küche.jpg"),
        ("Küche.jpg", unicodedata.normalize("NFD", "images/Küche.jpg")),
    ],
)
def test_names_as_other_systems_write_them(in_model, in_folder):
    poses = NamedPoses({in_model: SE3.identity(), "cam/2.jpg": SE3.identity()})
    assert poses.find(in_folder) is poses.poses[in_model]
    assert poses.find("3.jpg") is None


def test_images_that_are_not_read_are_named(tmp_path, caplog):
    write_images(tmp_path / "mixed", ["1.png", "2.jpg"])
    (tmp_path / "mixed" / "2.jpg").rename(tmp_path / "mixed" / "2.jfif")  # as browsers save it
    (tmp_path / "tiffs").mkdir()
    for folder in ("mixed", "tiffs"):
        for name in ("3.tif", "4.TIF", "5.dng"):
            (tmp_path / folder / name).write_bytes(b"II*\0" + bytes(60))
    with caplog.at_level(logging.WARNING):
        assert len(open_source(tmp_path / "mixed")) == 2
    assert "mixed also holds images that are left out: 2 .tif, 1 .dng (convert them to PNG)" in caplog.text
    with pytest.raises(SourceError, match=r"no images \(\.jpg, .*\), but 2 \.tif, 1 \.dng \(convert them"):
        open_source(tmp_path / "tiffs")


def test_a_folder_of_ros_1_bags(tmp_path):
    for name in ("a_0.bag", "a_1.bag"):
        (tmp_path / name).write_bytes(b"#ROSBAG V2.0\n" + bytes(60))
    with pytest.raises(SourceError, match="holds ROS 1 bags: convert them"):
        open_source(tmp_path)


@pytest.mark.parametrize(("name", "codec"), [("a.MTS", "libx264"), ("a.h264", "libx264"), ("a.gif", "gif")])
def test_videos_of_other_names(tmp_path, name, codec):
    path = tmp_path / name
    with av.open(str(path), "w", format="mpegts" if name == "a.MTS" else None) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb8" if codec == "gif" else "yuv420p"
        for index in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour_image(index))))
        container.mux(stream.encode())
    if name == "a.MTS":
        assert len(list(open_source(path))) == 5
    else:
        with pytest.raises(SourceError, match=rf"video of a kind that is not read: .* 'ffmpeg -i {name} new\.mp4'"):
            open_source(path)


def test_a_bag_without_a_suffix_is_no_video(tmp_path):
    (file,) = (path for path in raw_bag(tmp_path / "bag", [1000]).iterdir() if path.suffix == ".mcap")
    file.rename(tmp_path / "drive")
    with pytest.raises(SourceError, match="drive is no video, image folder or bag"):
        open_source(tmp_path / "drive")
