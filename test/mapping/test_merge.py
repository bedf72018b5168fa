"""Maps of two parts of a simulated room become one: in the first one's frame, without a seam, or refused in words."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from kitchen_map import Recorder, contents
from room_parts import ROOM, disturbed, frame_of, part_of_room, saved
from unscaled import MAP_FROM_SFM

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, MapImage, open_map, pack_map
from visloc_ros.core.map_versions import roll_back
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.features import VladConfig
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import merge_maps
from visloc_ros.mapping.merging.joining import join, same_points
from visloc_ros.mapping.merging.merger import advise, index_of
from visloc_ros.mapping.merging.placing import place_map
from visloc_ros.mapping.merging.sightings import Sighting, Sightings

FIRST, SECOND = range(10), [row for row in range(10, 30) if row != 28]
ONLY_IN_SECOND = 28  # a view of which the first part shows nothing
FEW = range(17, 25)  # views of what the first part shows
AWAY = [12, 27, 28, 29]  # views of which the first part shows nothing
BETWEEN = [10, 13, 14, 15, 16, 17, 25]  # views of what both show
B_FROM_ROOM = MAP_FROM_SFM.inverse


@pytest.fixture(scope="module")
def room():
    return open_map(ROOM)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Two maps of the room: in its frame, and in one that nobody knows, with errors of its own."""
    folder = tmp_path_factory.mktemp("halves")
    first = saved(part_of_room(FIRST, "first"), folder / "first")
    second = disturbed(part_of_room(SECOND, "second"))
    return first, saved(second, folder / "second", B_FROM_ROOM, metric=False, gravity_aligned=False)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A second map of no more images than it takes."""
    return saved(part_of_room(FEW, "second"), tmp_path_factory.mktemp("few") / "second", B_FROM_ROOM)


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A map that has nothing in common with the first."""
    return saved(part_of_room(AWAY, "away"), tmp_path_factory.mktemp("away") / "away", B_FROM_ROOM, metric=False)


@pytest.fixture(scope="module")
def merged(halves, tmp_path_factory):
    """The merged map, its summary and the progress that was reported."""
    path, recorder = tmp_path_factory.mktemp("merged") / "whole", Recorder()
    return path, merge_maps(halves, path, progress=recorder), recorder


def errors(path, truth):
    """Of the poses of a map's images, in metres and degrees."""
    poses = {image.name: image.map_from_camera for image in truth.images}
    found = [(image.map_from_camera, poses[image.name]) for image in open_map(path).images]
    positions = [np.linalg.norm(pose.translation - true.translation) for pose, true in found]
    return np.array(positions), np.array([rotation_angle_deg(pose.rotation, true.rotation) for pose, true in found])


def seen_twice(path):
    """How often an image sees a point that it sees already."""
    rows = [image.point_rows[image.point_rows != NO_POINT] for image in open_map(path).images]
    return sum(len(one) - len(np.unique(one)) for one in rows)


class TestMergedMap:
    def test_all_images_lie_where_they_were_taken(self, merged, room):
        positions, angles = errors(merged[0], room)
        assert len(positions) == len(room.images) - 1
        assert np.median(positions) < 0.005
        assert np.median(angles) < 0.1
        assert positions.max() < 0.02
        assert angles.max() < 0.3

    def test_the_first_map_at_known_poses_does_not_move(self, merged, halves):
        poses = {image.name: image.map_from_camera for image in open_map(merged[0]).images}
        assert all(poses[one.name].is_close(one.map_from_camera, 1e-9, 1e-6) for one in open_map(halves[0]).images)

    def test_common_points_are_one(self, merged, halves):
        parts, whole = [open_map(path) for path in halves], open_map(merged[0])
        assert len(whole.points) < 0.85 * sum(len(part.points) for part in parts)
        of_first = {image.name for image in parts[0].images}
        seen = [set(), set()]
        for image in whole.images:
            seen[image.name not in of_first].update(image.point_rows.tolist())
        assert len(seen[0] & seen[1]) > 300
        assert whole.manifest.reprojection_error_px < parts[1].manifest.reprojection_error_px

    def test_no_image_sees_a_point_twice_that_did_not_before(self, merged, halves):
        assert seen_twice(merged[0]) <= sum(map(seen_twice, halves))

    def test_what_only_the_second_shows_is_found_in_the_frame_of_the_first(self, merged, halves, room):
        query = room.images[ONLY_IN_SECOND]
        assert isinstance(
            AnchorEngine(open_map(halves[0])).localize(frame_of(query), features=query.features), Rejection
        )
        found = AnchorEngine(open_map(merged[0])).localize(frame_of(query), features=query.features)
        assert isinstance(found, AnchorPose)
        assert found.map_from_camera.is_close(query.map_from_camera, 0.02, 0.3)

    def test_the_manifest_names_both(self, merged):
        manifest = open_map(merged[0]).manifest
        assert (manifest.name, manifest.created_from) == ("whole", "first, second")
        assert (manifest.metric, manifest.gravity_aligned, manifest.scale_source) == (True, True, "reference poses")
        placed = manifest.merged[0]
        assert placed["map"] == "second"
        assert placed["residuals"]["scale"] == pytest.approx(MAP_FROM_SFM.scale, rel=0.01)
        assert placed["residuals"]["images"] >= 10
        assert manifest.uncertainty is not None

    def test_thumbnails_card_and_summary_are_of_both(self, merged):
        path, summary, _ = merged
        names = [image.name for image in open_map(path).images]
        assert len(list((path / "thumbnails").glob("*.jpg"))) == len(names)
        page = (path / "map.html").read_text()
        assert all(name in page for name in names)
        assert "merged with: second" in page
        assert [count.registered for count in summary.by_source] == [len(FIRST), len(SECOND)]

    def test_progress_is_reported_by_stage(self, merged):
        stages = merged[2].stages
        assert [name for name, _ in stages] == ["search 'second'", "search 'second' again", "adjust"]
        assert merged[2].steps["search 'second'"] == len(SECOND)


def test_maps_without_known_poses_are_adjusted_as_a_whole_in_the_frame_of_the_first(room, tmp_path):
    first = saved(disturbed(part_of_room(FIRST, "first"), 1), tmp_path / "first", scale_source="wheel odometry")
    part = part_of_room(FEW, "second")
    second = saved(disturbed(part), tmp_path / "second", B_FROM_ROOM, metric=False)
    archive = pack_map(second, tmp_path / "second.tar.gz")
    merge_maps([first, archive], tmp_path / "whole")
    positions, angles = errors(tmp_path / "whole", room)
    assert np.median(positions) < 0.01
    assert np.median(angles) < 0.2


def test_maps_join_in_the_order_in_which_they_overlap(room, halves, away, tmp_path):
    between = saved(part_of_room(BETWEEN, "between"), tmp_path / "between")
    summary = merge_maps([halves[0], away, between], tmp_path / "whole")
    assert [one["map"] for one in open_map(tmp_path / "whole").manifest.merged] == ["between", "away"]
    assert [count.source for count in summary.by_source] == ["first", "away", "between"]
    positions, _ = errors(tmp_path / "whole", room)
    assert np.median(positions) < 0.005


def test_the_metric_map_should_be_the_first(halves):
    first, second = [open_map(path) for path in halves]
    assert advise([first, second]) == []
    lines = advise([second, first])
    assert [line.partition(", whose")[0] for line in lines] == [
        "'first' is metric, 'second' is not",
        "'first' is level, 'second' is not",
    ]


def test_names_that_both_maps_use_stay_apart(halves, tmp_path):
    named = part_of_room(FEW, "second")
    taken = [image.name for image in open_map(halves[0]).images]
    images = [replace(image, name=name) for image, name in zip(named.images, taken, strict=False)]
    images = [replace(image, name=f"{row}-{image.name}" if row > 3 else image.name) for row, image in enumerate(images)]
    second = saved(replace(named, images=tuple(images), thumbnails={}), tmp_path / "second", B_FROM_ROOM)
    merge_maps([halves[0], second], tmp_path / "whole")
    names = [image.name for image in open_map(tmp_path / "whole").images]
    assert len(set(names)) == len(FIRST) + len(FEW)
    assert {f"second/{name}" for name in taken[:4]} <= set(names)


class TestRefusals:
    @pytest.fixture(autouse=True)
    def nothing_is_left_behind(self, halves, few, away, tmp_path):
        before = [contents(path) for path in (*halves, few, away)]
        yield
        assert not (tmp_path / "whole").exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        assert [contents(path) for path in (*halves, few, away)] == before

    def test_no_overlap(self, halves, away, tmp_path):
        with pytest.raises(MapError, match=r"only 0 of 4 images of 'away' are found in 'first', 3 are needed: film"):
            merge_maps([halves[0], away], tmp_path / "whole")

    def test_a_camera_of_another_focal_length(self, halves, tmp_path):
        part = part_of_room(SECOND, "second")
        camera = pycolmap.Camera(part.images[0].camera.todict())
        camera.params = [1.3 * camera.params[0], 1.3 * camera.params[1], *camera.params[2:]]
        images = tuple(replace(image, camera=camera) for image in part.images)
        with pytest.raises(MapError, match="wrong focal length; build it again with the calib"):
            merge_maps([halves[0], saved(replace(part, images=images), tmp_path / "second")], tmp_path / "whole")

    def test_other_features(self, halves, tmp_path):
        part = part_of_room(FEW, "second")
        for info, words in (
            (ModelInfo("disk", "Apache-2.0"), "'first' was made with 'aliked-n16', 'second' with 'disk'"),
            (ModelInfo("aliked-n16", "BSD-3-Clause", "0" * 64), "other weights of 'aliked-n16'"),
        ):
            manifest = replace(part.manifest, models={**part.manifest.models, "extractor": info})
            other = saved(replace(part, manifest=manifest), tmp_path / info.licence)
            with pytest.raises(MapError, match=words):
                merge_maps([halves[0], other], tmp_path / "whole")

    def test_the_same_map_twice(self, halves, tmp_path):
        copy = shutil.copytree(halves[0], tmp_path / "copy")
        with pytest.raises(MapError, match="hold the same images"):
            merge_maps([halves[0], copy], tmp_path / "whole")

    def test_one_map_alone(self, halves, tmp_path):
        with pytest.raises(ConfigError, match="two or more"):
            merge_maps(halves[:1], tmp_path / "whole")

    def test_a_taken_place_before_any_work(self, halves, tmp_path):
        recorder = Recorder()
        with pytest.raises(OutputError, match="--overwrite"):
            merge_maps(halves, halves[0], progress=recorder)
        assert not recorder.stages

    def test_a_broken_map(self, halves, tmp_path):
        broken = shutil.copytree(halves[1], tmp_path / "broken")
        (broken / "features.h5").write_bytes(b"")
        with pytest.raises(MapError, match=r"features\.h5"):
            merge_maps([halves[0], broken], tmp_path / "whole")

    def test_an_interruption(self, halves, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            merge_maps(halves, tmp_path / "whole", progress=Recorder("search 'second'", KeyboardInterrupt()))

    def test_a_map_that_is_in_two_places(self, halves, tmp_path):
        rest = part_of_room(FEW[4:], "rest")
        bent = join(
            part_of_room(FEW[:4], "bent"),
            rest,
            Sim3(1.0, rotation_matrix([0.0, 0.0, 2.0]), np.array([8.0, 0.0, 0.0])),
            np.full(len(rest.points), NO_POINT),
        )
        with pytest.raises(MapError, match="fits 'first' in two ways"):
            merge_maps([halves[0], saved(bent, tmp_path / "bent")], tmp_path / "whole")

    def test_a_map_is_replaced_in_place_once_the_merged_one_is_whole(self, halves, few, tmp_path):
        path = shutil.copytree(halves[0], tmp_path / "first")
        recorder = Recorder("search 'second'", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            merge_maps([path, few], path, overwrite=True, progress=recorder)
        assert sorted(contents(path).values()) == sorted(contents(halves[0]).values())
        merge_maps([path, few], path, overwrite=True)
        merged = open_map(path)
        assert len(merged.images) == merged.manifest.built_images == len(FIRST) + len(FEW)
        assert [(step["version"], step["change"]) for step in merged.manifest.history] == [(1, "merge")]
        roll_back(path)
        assert len(open_map(path).images) == len(FIRST)


class Spot:
    """Cameras that turn on one spot, each with points of its own; as map b, in which each may have another scale."""

    def __init__(self, room: Map, scales):
        rng = np.random.default_rng(0)
        self.maps, self.found = [], {}
        images, points = ([], []), ([], [])
        for row, scale in enumerate(scales):
            pose = SE3(rotation_matrix([0.0, 0.1 * row, 0.0]), np.zeros(3))
            in_camera = rng.uniform([-1.0, -1.0, 2.0], [1.0, 1.0, 4.0], (20, 3))
            rows = np.arange(20 * row, 20 * (row + 1), dtype=np.int32)
            for side, own in enumerate((1.0, scale)):
                images[side].append(self._image(room, f"{row}.jpg", pose, rows))
                points[side].append(pose @ (in_camera / own))
            self.found[row] = Sighting(row, pose, np.arange(20), rows.astype(np.intp))
        self.maps = [
            replace(room, images=tuple(one), points=np.concatenate(every))
            for one, every in zip(images, points, strict=True)
        ]

    def _image(self, room, name, pose, rows):
        nothing = np.zeros((20, 2), np.float32)
        features = LocalFeatures(nothing, nothing[:, 0], nothing, (640, 480))
        return MapImage(name, pose, room.images[0].camera, features, rows)


class TestIndex:
    def test_descriptors_of_one_network_are_kept(self, room):
        network = {**room.manifest.models, "global": ModelInfo("netvlad", "MIT", "ab")}
        manifest = replace(room.manifest, models=network)
        room = replace(room, manifest=manifest, vlad_centroids=np.empty((0, 0), np.float32))
        joined = join(room, room, Sim3.identity(), np.full(len(room.points), NO_POINT))
        index = index_of(joined, VladConfig())
        assert index.model == network["global"]
        assert len(index.descriptors) == 2 * len(room.images)
        for image in room.images:
            assert (index.descriptors[image.name] == index.descriptors[f"{room.name}/{image.name}"]).all()

    def test_images_of_several_codebooks_get_one_of_all(self, room):
        joined = join(room, room, Sim3.identity(), np.full(len(room.points), NO_POINT))
        index = index_of(joined, VladConfig(clusters=4))
        assert (index.model.name, index.centroids.shape) == ("vlad", (4, 128))
        assert index.length == 4 * 128


class TestPlacing:
    def test_images_on_one_spot_give_the_scale_by_their_points(self, room):
        spot = Spot(room, [2.5] * 5)
        placed = place_map(*spot.maps, Sightings(spot.found))
        assert placed.a_from_b.scale == pytest.approx(2.5)
        assert np.allclose(placed.a_from_b.translation, 0.0)

    def test_a_scale_on_which_images_do_not_agree_is_refused(self, room):
        spot = Spot(room, [1.0, 1.3, 1.7, 2.2, 2.9])
        with pytest.raises(MapError, match=r"the scale of .* is known only to \d+ %"):
            place_map(*spot.maps, Sightings(spot.found))

    def test_points_are_joined_one_to_one_by_most_votes(self, room):
        b = part_of_room(range(3), "b")
        rows = [np.flatnonzero(image.point_rows == b.images[0].point_rows[0]) for image in b.images]
        seen_by = [row for row in range(3) if len(rows[row])]
        sightings = [Sighting(row, SE3.identity(), rows[row], np.array([7])) for row in seen_by]
        other = Sighting(0, SE3.identity(), np.array([1, 0]), np.array([7, 9]))
        same = same_points(b, [other, *sightings])
        assert same[b.images[0].point_rows[0]] == 7
        assert (same != NO_POINT).sum() == 1


def test_older_manifests_say_nothing_of_merging(halves, tmp_path):
    path = shutil.copytree(halves[0], tmp_path / "old")
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["merged"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert open_map(path).manifest.merged == ()
