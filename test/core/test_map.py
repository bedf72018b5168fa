"""A map round-trips through its folder and its archive, and every broken one is refused with the file's name."""

import json
import shutil
import struct
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pycolmap
import pytest
from small_map import MANIFEST

from visloc_ros.core.colmap_model import read_colmap_model
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.manifest import OwnError, UncertaintyInfo, file_info, read_manifest, write_manifest
from visloc_ros.core.map import NO_POINT, open_map, save_map
from visloc_ros.core.map_writer import staged_folder

DATA_FILES = [
    "sfm/cameras.bin",
    "sfm/images.bin",
    "sfm/points3D.bin",
    "features.h5",
    "global-feats-vlad.h5",
    "vlad.h5",
]


def accept_changes(folder):
    """Make the manifest agree with changed files, so that what they hold is judged, not their checksums."""
    manifest = read_manifest(folder)
    files = {name: file_info(folder / name) for name in manifest.files if (folder / name).exists()}
    write_manifest(folder, replace(manifest, files=files))


def write_uncertainty(folder, change):
    nothing = np.zeros((6, 6)).tolist()
    values = json.loads((folder / "manifest.json").read_text())
    values["uncertainty"] = asdict(UncertaintyInfo(1e-4, 1e-4, nothing, nothing, 0.1)) | change
    (folder / "manifest.json").write_text(json.dumps(values))


def with_a_hole(values):
    """The values with one of them not a number."""
    holed = values.copy()
    holed.flat[3] = np.nan
    return holed


class TestRoundTrip:
    def test_poses_points_and_features_come_back(self, parts, saved):
        reconstruction, features, descriptors, centroids = parts
        opened = open_map(saved)
        assert {image.name for image in opened.images} == set(features)
        for image, descriptor in zip(opened.images, opened.global_descriptors, strict=True):
            known = reconstruction.find_image_with_name(image.name)
            assert np.allclose(image.map_from_camera.inverse.matrix[:3], known.cam_from_world().matrix())
            assert np.allclose(image.features.keypoints, features[image.name].keypoints, atol=1e-4)
            assert np.allclose(image.features.descriptors, features[image.name].descriptors, atol=0.04)
            assert np.allclose(image.features.scores, features[image.name].scores, atol=1e-3)
            assert np.allclose(descriptor, descriptors[image.name], atol=0.04)
            assert image.features.image_size == (640, 480)
        assert np.array_equal(opened.camera_positions[0], opened.images[0].map_from_camera.translation)
        assert opened.camera_positions.shape == (len(features), 3)
        assert np.allclose(opened.vlad_centroids, centroids)

    def test_point_rows_lead_from_keypoints_to_the_points_they_see(self, saved):
        opened = open_map(saved)
        for image in opened.images:
            seen = image.point_rows != NO_POINT
            assert 0 < seen.sum() < len(seen)
            in_camera = image.map_from_camera.inverse @ opened.points[image.point_rows[seen]]
            projected = image.camera.img_from_cam(in_camera)
            assert np.abs(projected - image.features.keypoints[seen]).max() < 1e-3

    def test_manifest_is_completed(self, saved):
        manifest = open_map(saved).manifest
        assert manifest.name == "room"
        assert manifest.models == MANIFEST.models
        assert manifest.counts == {"images": 6, "points": 60, "observations": 360}
        assert manifest.reprojection_error_px < 1e-3
        assert manifest.cameras["1"]["params"] == [600.0, 320.0, 240.0, 0.02]
        assert manifest.config == {"pairs": {"window": 4}}
        assert set(DATA_FILES) <= set(manifest.files)

    def test_files_follow_hloc(self, parts, saved):
        reconstruction = pycolmap.Reconstruction(saved / "sfm")
        name, features = next(iter(parts[1].items()))
        with h5py.File(saved / "features.h5") as file:
            group = file[name]
            in_colmap = np.array([point.xy for point in reconstruction.find_image_with_name(name).points2D])
            assert np.allclose(group["keypoints"][()] + 0.5, in_colmap, atol=1e-4)
            assert group["descriptors"].shape == (16, len(features))
            assert group["descriptors"].dtype == group["scores"].dtype == np.float16
            assert list(group["image_size"]) == [640, 480]
        with h5py.File(saved / "global-feats-vlad.h5") as file:
            assert file[name]["global_descriptor"].shape == (32,)

    def test_a_map_of_stock_hloc_opens(self, broken):
        (broken / "manifest.json").unlink()
        (broken / "vlad.h5").unlink()
        (broken / "features.h5").rename(broken / "feats-superpoint-n4096-r1024.h5")
        (broken / "global-feats-vlad.h5").rename(broken / "global-feats-netvlad.h5")
        (broken / "sfm").rename(broken / "sfm_superpoint+lightglue")
        opened = open_map(broken)
        assert len(opened.images) == 6
        assert opened.manifest.models["extractor"].name == "superpoint"
        assert opened.manifest.models["global"].name == "hloc:netvlad"
        assert not opened.manifest.metric
        assert opened.vlad_centroids.size == 0


class TestBrokenFolder:
    @pytest.mark.parametrize("name", [*DATA_FILES, "manifest.json"])
    def test_a_missing_file_is_named(self, broken, name):
        (broken / name).unlink()
        with pytest.raises(MapError, match=Path(name).name):
            open_map(broken)

    @pytest.mark.parametrize("name", [*DATA_FILES, "manifest.json"])
    def test_a_truncated_file_is_named(self, broken, name):
        content = (broken / name).read_bytes()
        (broken / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(MapError, match=Path(name).name):
            open_map(broken)

    @pytest.mark.parametrize("name", DATA_FILES)
    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.98])
    def test_truncation_is_noticed_without_the_manifest_s_help(self, broken, name, kept):
        content = (broken / name).read_bytes()
        (broken / name).write_bytes(content[: int(kept * len(content))])
        accept_changes(broken)
        with pytest.raises(MapError, match=Path(name).name):
            open_map(broken)

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_the_model_reader_survives_every_truncation(self, broken, name):
        path = broken / "sfm" / name
        content = path.read_bytes()
        for size in range(0, len(content), max(1, len(content) // 150)):
            path.write_bytes(content[:size])
            with pytest.raises(MapError, match=name):
                read_colmap_model(broken / "sfm")

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_surplus_bytes_are_noticed(self, broken, name):
        path = broken / "sfm" / name
        path.write_bytes(path.read_bytes() + b"\0" * 8)
        with pytest.raises(MapError, match=f"{name} has 8 bytes too many"):
            read_colmap_model(broken / "sfm")

    @pytest.mark.parametrize("focal_length", [-600.0, 0.0, np.nan, 1e9])
    def test_a_camera_that_cannot_be_is_refused(self, broken, focal_length):
        path = broken / "sfm" / "cameras.bin"
        content = path.read_bytes()
        assert content.count(struct.pack("<d", 600.0)) == 1
        path.write_bytes(content.replace(struct.pack("<d", 600.0), struct.pack("<d", focal_length)))
        with pytest.raises(MapError, match="camera with impossible values"):
            read_colmap_model(broken / "sfm")

    def test_a_changed_byte_is_noticed_by_the_checksum_only(self, broken):
        path = broken / "vlad.h5"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(MapError, match=r"vlad\.h5 has changed"):
            open_map(broken)
        open_map(broken, checksums=False)

    def test_another_format_version_is_refused(self, broken):
        path = broken / "manifest.json"
        path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
        with pytest.raises(MapError, match="format version 2"):
            open_map(broken)

    @pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"format_version": 1}', "[" * 100_000])
    def test_a_manifest_of_something_else_is_refused(self, broken, text):
        (broken / "manifest.json").write_text(text)
        with pytest.raises(MapError, match=r"manifest\.json"):
            open_map(broken)

    def test_a_manifest_that_points_outside_is_refused(self, broken):
        values = json.loads((broken / "manifest.json").read_text())
        values["files"]["../outside"] = {"sha256": "", "size": 0}
        (broken / "manifest.json").write_text(json.dumps(values))
        with pytest.raises(MapError, match="outside the map"):
            open_map(broken)

    @pytest.mark.parametrize(
        "change",
        [
            {"position_rate": -1.0},
            {"position_rate": 1e300},
            {"rotation_rate": float("nan")},
            {"nearest_change": 0.0},
            {"image_covariance": [[0.0] * 6] * 5},
            {"difference_covariance": "none"},
            {"adjustment_covariance": [[0.0] * 6] * 5},
            {"adjustment_covariance": 1.0},
            {"shared_error": -0.1},
            {"shared_error": float("nan")},
            {"own_error": {"images": 3}},
            {"own_error": {"images": 3, "position": "far", "rotation_deg": 0.0, "point": 0.0, "depth": 1.0}},
            {"surprise": 1.0},
        ],
    )
    def test_a_garbled_uncertainty_is_refused(self, broken, change):
        write_uncertainty(broken, change)
        with pytest.raises(MapError, match=r"manifest\.json"):
            open_map(broken)

    @pytest.mark.parametrize(("change", "known"), [({}, True), ({"version": 0, "position_rate": "in words"}, False)])
    def test_an_uncertainty_of_another_version_is_not_read(self, broken, change, known):
        write_uncertainty(broken, change)
        assert (open_map(broken).manifest.uncertainty is not None) == known

    def test_an_uncertainty_of_an_earlier_version_is_read(self, broken):
        write_uncertainty(broken, {"version": 1})
        values = json.loads((broken / "manifest.json").read_text())
        for added_later in ("adjustment_covariance", "shared_error", "own_error"):
            del values["uncertainty"][added_later]
        (broken / "manifest.json").write_text(json.dumps(values))
        read = open_map(broken).manifest.uncertainty
        assert (read.version, read.shared_error, read.own_error) == (1, 1.0, None)

    def test_what_the_map_is_off_by_is_read_as_written(self, broken):
        write_uncertainty(broken, {"own_error": asdict(OwnError(40, 0.002, 0.03, 0.001, 3.9))})
        assert open_map(broken).manifest.uncertainty.own_error == OwnError(40, 0.002, 0.03, 0.001, 3.9)

    @pytest.mark.parametrize("place", ["nowhere", "nowhere/at/all"])
    def test_no_map_at_all(self, tmp_path, place):
        with pytest.raises(MapError, match="there is no map"):
            open_map(tmp_path / place)

    def test_an_empty_folder_is_no_map(self, tmp_path):
        with pytest.raises(MapError, match="not a map folder"):
            open_map(tmp_path)


class TestFilesThatDoNotFit:
    def change(self, folder, file_name, key, change):
        with h5py.File(folder / file_name, "r+") as file:
            image = sorted(file)[0]
            name = f"{image}/{key}" if key != "centroids" else key
            values = change(file[name][()])
            del file[name]
            file[name] = values
        accept_changes(folder)

    def test_another_number_of_keypoints(self, broken):
        self.change(broken, "features.h5", "keypoints", lambda values: values[1:])
        with pytest.raises(MapError, match=r"features\.h5.*keypoints"):
            open_map(broken)

    def test_another_number_of_descriptors(self, broken):
        self.change(broken, "features.h5", "descriptors", lambda values: values[:, 1:])
        with pytest.raises(MapError, match=r"features\.h5.*descriptors"):
            open_map(broken)

    def test_descriptors_of_several_lengths(self, broken):
        self.change(broken, "features.h5", "descriptors", lambda values: values[1:])
        with pytest.raises(MapError, match=r"features\.h5 mixes"):
            open_map(broken)

    def test_keypoints_of_another_map(self, broken):
        self.change(broken, "features.h5", "keypoints", lambda values: values[::-1])
        with pytest.raises(MapError, match="different maps"):
            open_map(broken)

    def test_global_descriptors_of_several_lengths(self, broken):
        self.change(broken, "global-feats-vlad.h5", "global_descriptor", lambda values: values[1:])
        with pytest.raises(MapError, match=r"global-feats-vlad\.h5 mixes"):
            open_map(broken)

    @pytest.mark.parametrize(
        ("file_name", "key"),
        [
            ("features.h5", "keypoints"),
            ("features.h5", "descriptors"),
            ("features.h5", "scores"),
            ("global-feats-vlad.h5", "global_descriptor"),
            ("vlad.h5", "centroids"),
        ],
    )
    def test_values_that_are_not_finite(self, broken, file_name, key):
        self.change(broken, file_name, key, with_a_hole)
        with pytest.raises(MapError, match=f"{file_name}.*not finite"):
            open_map(broken)

    def test_text_in_place_of_numbers(self, broken):
        self.change(broken, "features.h5", "scores", lambda values: np.full(values.shape, b"x"))
        with pytest.raises(MapError, match=r"features\.h5.*scores"):
            open_map(broken)

    def test_a_group_in_place_of_values(self, broken):
        with h5py.File(broken / "vlad.h5", "r+") as file:
            del file["centroids"]
            file.create_group("centroids")
        accept_changes(broken)
        with pytest.raises(MapError, match=r"vlad\.h5 lacks 'centroids'"):
            open_map(broken)

    def test_a_link_to_another_file(self, broken, saved):
        with h5py.File(broken / "vlad.h5", "r+") as file:
            del file["centroids"]
            file["centroids"] = h5py.ExternalLink(str(saved / "vlad.h5"), "centroids")
        accept_changes(broken)
        with pytest.raises(MapError, match="another file"):
            open_map(broken)

    def test_points_that_are_not_finite(self, broken):
        path = broken / "sfm" / "points3D.bin"
        content = bytearray(path.read_bytes())
        content[16:24] = np.float64(np.nan).tobytes()
        path.write_bytes(content)
        accept_changes(broken)
        with pytest.raises(MapError, match=r"points3D\.bin.*not finite"):
            open_map(broken)

    def test_a_pose_that_is_none(self, broken):
        path = broken / "sfm" / "images.bin"
        content = bytearray(path.read_bytes())
        content[12:20] = np.float64(7.0).tobytes()
        path.write_bytes(content)
        accept_changes(broken)
        with pytest.raises(MapError, match=r"images\.bin.*not a pose"):
            open_map(broken)

    def test_points_that_the_model_does_not_hold(self, broken):
        path = broken / "sfm" / "points3D.bin"
        content = bytearray(path.read_bytes())
        content[8:16] = np.uint64(10**6).tobytes()
        path.write_bytes(content)
        accept_changes(broken)
        with pytest.raises(MapError, match=r"images\.bin.*sees the point"):
            open_map(broken)


class TestSaving:
    def write_half(self, path, failure):
        with staged_folder(path, overwrite=True) as folder:
            (folder / "half").write_text("written")
            raise failure

    def test_an_old_map_is_kept_without_permission(self, parts, tmp_path):
        save_map(tmp_path / "room", *parts, MANIFEST)
        with pytest.raises(OutputError, match="already holds a map"):
            save_map(tmp_path / "room", *parts, replace(MANIFEST, name="new"))
        assert open_map(tmp_path / "room").name == "room"

    def test_an_old_map_is_replaced_with_permission(self, parts, tmp_path):
        save_map(tmp_path / "room", *parts, MANIFEST)
        save_map(tmp_path / "room", *parts, replace(MANIFEST, name="new"), overwrite=True)
        assert open_map(tmp_path / "room").name == "new"
        assert [path.name for path in tmp_path.iterdir()] == ["room"]

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
    def test_a_failure_leaves_the_old_map_and_nothing_else(self, parts, tmp_path, failure):
        save_map(tmp_path / "room", *parts, MANIFEST)
        with pytest.raises(failure):
            self.write_half(tmp_path / "room", failure)
        assert [path.name for path in tmp_path.iterdir()] == ["room"]
        assert len(open_map(tmp_path / "room").images) == 6

    def test_the_old_map_comes_back_after_a_kill_between_two_renames(self, parts, tmp_path):
        save_map(tmp_path / "room", *parts, MANIFEST)
        (tmp_path / ".room.partial" / "new" / "room").mkdir(parents=True)
        (tmp_path / "room").rename(tmp_path / ".room.partial" / "old")
        assert open_map(tmp_path / "room").name == "room"
        assert [path.name for path in tmp_path.iterdir()] == ["room"]

    def test_what_a_killed_build_left_is_cleared_away_by_the_next(self, parts, tmp_path):
        for name in ("room", "hall"):
            (tmp_path / f".{name}.partial" / "new").mkdir(parents=True)
        save_map(tmp_path / "room", *parts, MANIFEST)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hall.partial", "room"]

    def test_two_builds_of_one_map_do_not_meet(self, parts, tmp_path):
        with staged_folder(tmp_path / "room") as folder:
            with pytest.raises(OutputError, match=r"another process is just writing.*room: wait"):
                save_map(tmp_path / "room", *parts, MANIFEST)
            save_map(tmp_path / "hall", *parts, MANIFEST)
            shutil.copytree(tmp_path / "hall", folder, dirs_exist_ok=True)
        assert open_map(tmp_path / "room").name == "room"

    def test_a_folder_with_other_files_is_never_replaced(self, parts, tmp_path):
        (tmp_path / "photo.jpg").write_bytes(b"precious")
        with pytest.raises(OutputError, match="not a map"):
            save_map(tmp_path, *parts, MANIFEST, overwrite=True)
        assert (tmp_path / "photo.jpg").read_bytes() == b"precious"

    def test_a_place_that_cannot_be_written(self, parts, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot write"):
            save_map(tmp_path / "file" / "room", *parts, MANIFEST)
        with pytest.raises(OutputError, match="is a file"):
            save_map(tmp_path / "file", *parts, MANIFEST)

    def test_features_that_do_not_fit_the_reconstruction(self, parts, tmp_path):
        reconstruction, features, descriptors, centroids = parts
        name, first = next(iter(features.items()))
        short = replace(first, keypoints=first.keypoints[1:])
        with pytest.raises(MapError, match="features"):
            save_map(tmp_path / "room", reconstruction, {**features, name: short}, descriptors, centroids, MANIFEST)
        with pytest.raises(MapError, match="no global descriptor"):
            save_map(tmp_path / "room", reconstruction, features, {}, centroids, MANIFEST)
        assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_reported_before_anything_is_written(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"0\.0 MB left: free some space"):
        save_map(tmp_path / "room", *parts, MANIFEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "free some space"),
        (PermissionError(13, "Permission denied"), "see that the folder is writable"),
    ],
)
def test_an_error_of_writing_says_what_it_was(tmp_path, error, said):
    with pytest.raises(OutputError, match=said), staged_folder(tmp_path / "map"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_read_and_is_missing_is_no_error_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), staged_folder(tmp_path / "maps" / "map"):
        (tmp_path / "elsewhere").read_bytes()
    assert list((tmp_path / "maps").iterdir()) == []
