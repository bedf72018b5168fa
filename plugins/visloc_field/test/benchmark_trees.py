"""Small data sets in the layouts of the real ones, with exact truth; images are blank, or given for some sets."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, rotation_matrix

BLANK = np.full((6, 8, 3), 128, np.uint8)
CAMERA = "SIMPLE_RADIAL 1600 1200 1470 800 600 0.02"
STAMPS = ("1417178916116788", "1417178916199999")


def pose(number: int) -> SE3:
    """Some ``map_from_camera``."""
    return SE3(rotation_matrix([0.1 * number, 0.2, -0.05 * number]), [1.0 * number, -2.0, 0.5])


def write_image(path: Path, image: np.ndarray = BLANK) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def words(values: object) -> str:
    return " ".join(repr(float(value)) for value in np.ravel(values))


def write_seven_scenes(root: Path, database: Sequence = (), queries: Sequence = ()) -> None:
    """A red kitchen of two sequences; images and poses are pairs, made up where none are given."""
    scene = root / "redkitchen"
    write(scene / "TrainSplit.txt", "sequence1")
    write(scene / "TestSplit.txt", "sequence2")
    made_up = [(BLANK, pose(number)) for number in range(3)]
    for folder, images in (("seq-01", database or made_up), ("seq-02", queries or made_up)):
        for number, (image, map_from_camera) in enumerate(images):
            write_image(scene / folder / f"frame-{number:06d}.color.png", image)
            rows = [words(row) for row in map_from_camera.matrix]
            write(scene / folder / f"frame-{number:06d}.pose.txt", *rows)


def write_triangulated(root: Path) -> None:
    """Three images of the stairs as hloc takes them: no split of the release, but a model that says which to find."""
    names = [f"seq-0{number}/frame-000000.color.png" for number in range(1, 4)]
    for name in names:
        write_image(root / "stairs" / name)
    folder = root / "7scenes_sfm_triangulated" / "stairs" / "triangulated"
    images = {name: (1, pose(number)) for number, name in enumerate(names)}
    write_binary_model(folder, {1: "SIMPLE_RADIAL 640 480 585 320 240 0"}, images)
    write(folder / "list_test.txt", names[1])


def write_twelve_scenes(root: Path) -> None:
    """A kitchen of five frames, two of which are to be found; of frame 4 the pose is not known."""
    scene = root / "apt1" / "kitchen"
    write(scene / "split.txt", "sequence0 [frames=2] [start=0 ; end=1]", "sequence1 [frames=3] [start=2 ; end=4]")
    write(
        scene / "info.txt",
        "m_versionNumber = 4",
        "m_colorWidth = 1296",
        "m_colorHeight = 968",
        "m_calibrationColorIntrinsic = 1170 0 647 0 0 1171 483 0 0 0 1 0 0 0 0 1",
    )
    for number in range(5):
        write_image(scene / "data" / f"frame-{number:06d}.color.jpg")
        matrix = pose(number).matrix if number < 4 else np.full((4, 4), -np.inf)
        write(scene / "data" / f"frame-{number:06d}.pose.txt", *[words(row) for row in matrix])


def cambridge_line(name: str, map_from_camera: SE3) -> str:
    return f"{name} {words(map_from_camera.translation)} {words(map_from_camera.inverse.quaternion)}"


def write_cambridge(root: Path, database: Sequence = (), queries: Sequence = (), focal_px: float = 1600.0) -> None:
    """A shop as released; ``focal_px`` is that of images of 1920x1080 pixels."""
    scene = root / "ShopFacade"
    made_up = [(BLANK, pose(number)) for number in range(3)]
    heading = ("Visual Landmark Dataset V1", "ImageFile, Camera Position [X Y Z W P Q R]", "")
    cameras = []
    for part, folder, images in (("train", "seq1", database or made_up), ("test", "seq2", queries or made_up)):
        lines = []
        for number, (image, map_from_camera) in enumerate(images):
            name = f"{folder}/frame{number:05d}"
            write_image(scene / f"{name}.png", image)
            lines.append(cambridge_line(f"{name}.png", map_from_camera))
            cameras.append(nvm_line(f"{name}.jpg", map_from_camera, focal_px))
        write(scene / f"dataset_{part}.txt", *heading, *lines)
    write(scene / "reconstruction.nvm", "NVM_V3 ", "", str(len(cameras)), *cameras, "", "0", "")


def nvm_line(name: str, map_from_camera: SE3, focal_px: float, distortion: float = 0.0) -> str:
    quaternion, centre = map_from_camera.inverse.quaternion, map_from_camera.translation
    return f"{name}\t{focal_px} {words(quaternion)} {words(centre)} {distortion} 0"


def write_model(folder: Path, cameras: Mapping[int, str], images: Mapping[str, tuple[int, SE3]]) -> None:
    """A COLMAP model as text: cameras by number, camera number and ``map_from_camera`` by image name."""
    write(folder / "cameras.txt", *[f"{number} {camera}" for number, camera in cameras.items()])
    lines = []
    for number, (name, (camera, map_from_camera)) in enumerate(images.items(), start=1):
        inverse = map_from_camera.inverse
        lines += [f"{number} {words(inverse.quaternion)} {words(inverse.translation)} {camera} {name}", ""]
    write(folder / "images.txt", *lines)
    write(folder / "points3D.txt")


def write_retriangulated(root: Path) -> None:
    """A college as hloc takes it: four images, of which two are to be found."""
    names = [f"seq1/frame0000{number}.png" for number in range(4)]
    for name in names:
        write_image(root / "KingsCollege" / name)
    folder = root / "CambridgeLandmarks_Colmap_Retriangulated_1024px" / "KingsCollege"
    camera = "SIMPLE_RADIAL 1024 576 800 512 288 0.01"
    write_model(folder / "empty_all", {1: camera}, {name: (1, pose(i)) for i, name in enumerate(names)})
    write(folder / "list_query.txt", *names[2:])
    write(
        root / "KingsCollege" / "query_list_with_intrinsics.txt", f"{names[2]} SIMPLE_RADIAL 1920 1080 1500 960 540 0"
    )


def write_aachen(root: Path) -> None:
    names = ["db/1.jpg", "db/2.jpg", "sequences/nexus/3.png"]
    day, night = "query/day/nexus4/4.jpg", "query/night/nexus5x/5.jpg"
    for name in (*names, day, night):
        write_image(root / "images_upright" / name)
    images = {name: (1, pose(number)) for number, name in enumerate(names)}
    write_model(root / "3D-models" / "aachen_v_1_1", {1: CAMERA}, images)
    for condition, name in (("day", day), ("night", night)):
        listing = root / "queries" / f"{condition}_time_queries_with_intrinsics.txt"
        write(listing, f"{name} SIMPLE_RADIAL 1600 1200 1469.2 800 600 -0.0353019")


def write_binary_model(folder: Path, cameras: Mapping[int, str], images: Mapping[str, tuple[int, SE3]]) -> None:
    """A COLMAP model as binary files."""
    write_model(folder, cameras, images)
    pycolmap.Reconstruction(folder).write_binary(folder)
    for name in ("cameras", "images", "points3D"):
        (folder / f"{name}.txt").unlink()


def write_lbr_aachen(root: Path) -> None:
    """Aachen as LBR has it: masks of queries, too, and styles of which one is in PNG and lacks an image."""
    write_aachen(root)
    (root / "images_upright").rename(root / "images")
    shutil.rmtree(root / "3D-models")
    names = sorted(path.relative_to(root / "images") for path in (root / "images").rglob("*.*"))
    mapped = [name for name in names if name.parts[0] != "query"]
    write_binary_model(
        root / "3D-models", {1: CAMERA}, {name.as_posix(): (1, pose(i)) for i, name in enumerate(mapped)}
    )
    for name in names:
        write_image(root / "global_seg_instance" / name.with_suffix(".png"))
    for name in mapped:
        write_image(root / "stylized" / "images" / name)
        write_image(root / "stylized" / "images_aug1" / name)
    write_image(root / "stylized" / "images_aug2" / "db" / "1.png")


def write_lbr_robotcar(root: Path) -> None:
    """RobotCar Seasons as LBR has it: masks, below a misspelt name, and styles of the rear camera; no lists."""
    stamp, reference = "1417176458999821", "overcast-reference"
    names = [f"{reference}/{camera}/{stamp}.jpg" for camera in ("rear", "left")]
    for name in (*names, f"night/rear/{STAMPS[0]}.jpg", f"dawn/rear/{STAMPS[1]}.jpg"):
        write_image(root / "images" / name)
    write_binary_model(
        root / "3D-models" / "sfm-sift", {1: CAMERA}, {name: (1, pose(number)) for number, name in enumerate(names)}
    )
    write_image(root / "gloabl_seg_instance" / reference / "rear" / f"{stamp}.png")
    for style in (reference, f"{reference}_aug_d", f"{reference}_aug_nr", "_aug_r"):
        write_image(root / "stylized" / style / "rear" / f"{stamp}.jpg")


def write_robotcar(root: Path) -> None:
    images, (tested, trained) = root / "images", STAMPS
    for condition, stamp in (("night-rain", tested), ("dawn", trained)):
        for camera in ("rear", "left", "right"):
            write_image(images / condition / camera / f"{stamp}.jpg")
    for camera in ("rear", "left"):
        write_image(images / "overcast-reference" / camera / "1417176458999821.jpg")
    cameras = [
        nvm_line(f"./overcast-reference/{camera}/1417176458999821.png", pose(number), 400.0)
        for number, camera in enumerate(("rear", "left"))
    ]
    write(root / "3D-models" / "all-merged" / "all.nvm", "NVM_V3", "", "2", *cameras, "", "0")
    write(root / "robotcar_v2_test.txt", f"rear/{tested}.jpg", f"left/{tested}.jpg")
    write(root / "robotcar_v2_train.txt", f"rear/{trained}.jpg {words(pose(7).matrix)}")


def write_cmu(root: Path) -> None:
    camera = "OPENCV 1024 768 868.99 866.06 525.94 420.04 -0.399 0.189 0.0001 0.0005"
    for number, name in enumerate(("slice2", "slice18")):
        mapped = [f"img_0010{one}_c{one}_12842835{number}us.jpg" for one in range(2)]
        query = f"img_00200_c1_12842837{number}us.jpg"
        for image in mapped:
            write_image(root / name / "database" / image)
        write_image(root / name / "query" / query)
        write_model(root / name / "sparse", {1: camera}, {image: (1, pose(i)) for i, image in enumerate(mapped)})
        write(root / name / f"test-images-{name}.txt", query)
    write(root / "intrinsics.txt", "# camera model", f"c0 {camera}", f"c1 {camera.replace('420.04', '397.27')}")


TREES = {
    "7scenes": write_seven_scenes,
    "12scenes": write_twelve_scenes,
    "cambridge": write_cambridge,
    "aachen": write_aachen,
    "robotcar": write_robotcar,
    "cmu": write_cmu,
}
