"""Two parts of a simulated room as an atlas: one frame, poses of both, what contradicts is refused, and named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from kitchen_map import contents
from room_parts import ROOM, disturbed, frame_of, part_of_room, saved
from typer.testing import CliRunner
from unscaled import MAP_FROM_SFM

from visloc_ros.apps.cli import app
from visloc_ros.core.atlas import open_map_or_atlas
from visloc_ros.core.atlas_file import ATLAS_NAME, read_atlas_file
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import Sim3, rotation_matrix
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_folder import read_entry
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.similarity_estimate import SimilarityEstimate
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import perturbed_similarity, pose_difference
from visloc_ros.core.types import AnchorPose, Reason
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import make_atlas
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.merging.map_links import MapLink, find_links, place_along
from visloc_ros.simulation import SimulationConfig, simulate

FIRST, SECOND = range(10), [row for row in range(10, 30) if row != 28]
ONLY_IN_SECOND = 28  # a view of which the first part shows nothing
BORDER = (0, 4, 14, 20)  # views of what both parts show
B_FROM_ROOM = MAP_FROM_SFM.inverse


@pytest.fixture(scope="module")
def room():
    return open_map(ROOM)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two maps of the room, one in an unknown frame, and the atlas of both; the command's output."""
    folder = tmp_path_factory.mktemp("atlas")
    saved(part_of_room(FIRST, "first"), folder / "first")
    second = disturbed(part_of_room(SECOND, "second"))
    saved(second, folder / "second", B_FROM_ROOM, metric=False, gravity_aligned=False)
    before = [contents(folder / name) for name in ("first", "second")]
    words = [
        "maps",
        "atlas",
        *(str(folder / name) for name in ("first", "second")),
        "-o",
        str(folder / "both"),
        "--json",
    ]
    finished = CliRunner().invoke(app, words)
    assert finished.exit_code == 0, finished.output
    assert before == [contents(folder / name) for name in ("first", "second")]
    return folder, json.loads(finished.stdout)


@pytest.fixture(scope="module")
def atlas(made):
    return open_map_or_atlas(made[0] / "both")


@pytest.fixture(scope="module")
def engine(atlas):
    return AnchorEngine(atlas)


def look(engine, image):
    return engine.localize(frame_of(image), features=image.features)


def squared_error(pose, image):
    error = pose_difference(pose.map_from_camera, image.map_from_camera)
    return float(error @ np.linalg.solve(pose.covariance, error))


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "maps")
    return tmp_path / "maps"


class TestAtlas:
    def test_the_transform_is_right_within_its_covariance(self, made):
        placed = {one.name: one for one in read_atlas_file(made[0] / "both" / ATLAS_NAME)}
        assert list(placed) == ["first", "second"]
        assert placed["first"].estimate.squared_distance(SimilarityEstimate.exact(Sim3.identity())) == 0.0
        estimate = placed["second"].estimate
        assert estimate.squared_distance(SimilarityEstimate.exact(MAP_FROM_SFM)) < chi_square_quantile(0.99, 7)
        assert np.sqrt(np.diag(estimate.covariance)).max() < 0.03
        assert made[1]["maps"]["second"]["placed_by"].endswith("images of 'second' in 'first'")

    def test_images_of_both_maps_are_found_in_one_frame(self, engine, room):
        walk = [(row, look(engine, room.images[row])) for row in (*BORDER, 7, 12, ONLY_IN_SECOND)]
        for row, found in walk:
            assert isinstance(found, AnchorPose), row
            assert found.map_from_camera.is_close(room.images[row].map_from_camera, 0.02, 0.3)
            assert squared_error(found, room.images[row]) < chi_square_quantile(0.999, 6)
        assert walk[-1][1].atlas_map == "second"
        assert {found.atlas_map for _, found in walk} == {"first", "second"}

    def test_at_the_border_a_pose_rests_on_both_maps(self, engine, room):
        by_maps = [{name.split("/")[0] for name in look(engine, room.images[row]).references} for row in BORDER]
        assert by_maps == [{"first", "second"}] * len(BORDER)

    def test_the_error_of_the_transform_is_shared_by_poses_nearby(self, engine, atlas, room):
        found, placed = look(engine, room.images[ONLY_IN_SECOND]), atlas.atlas.maps[1]
        added = placed.estimate.of_pose(found.map_from_camera)
        assert np.trace(added) > 0.0
        assert np.linalg.eigvalsh(found.map_covariance - added).min() > -1e-12
        assert np.linalg.eigvalsh(found.covariance - found.map_covariance).min() > -1e-12

    def test_its_manifest_is_of_all_maps(self, made, atlas):
        manifests = [open_map(made[0] / name).manifest for name in ("first", "second")]
        assert atlas.manifest.counts["images"] == sum(one.counts["images"] for one in manifests) == len(atlas.images)
        assert (atlas.name, atlas.manifest.metric, atlas.manifest.gravity_aligned) == ("both", True, True)
        assert set(atlas.thumbnails) == {image.name for image in atlas.images}
        assert atlas.thumbnails[atlas.images[0].name][:2] == b"\xff\xd8"

    def test_commands_take_it_and_name_its_maps(self, made):
        check_map(made[0] / "both")
        entry = read_entry(made[0] / "both")
        assert entry.size > sum(read_entry(made[0] / name).size for name in ("first", "second"))
        shown = CliRunner().invoke(app, ["maps", "info", str(made[0] / "both")]).output
        assert "second (" in shown

    def test_what_needs_a_map_by_itself_refuses_it(self, made, tmp_path):
        with pytest.raises(MapError, match="is an atlas of several maps"):
            open_map(made[0] / "both")
        with pytest.raises(MapError, match="is an atlas of several maps"):
            make_atlas([made[0] / "both", made[0] / "first"], made[0] / "more")
        with pytest.raises(MapError, match="pack each of its maps"):
            pack_map(made[0] / "both", tmp_path / "both.tar.gz")


def test_a_map_that_was_aligned_stays_where_it_is_in_the_atlas(copied, atlas):
    turned = Sim3(1.25, rotation_matrix([0.2, 0.4, -0.3]), np.array([3.0, -2.0, 1.0]))
    fit = MapFit(turned, "a test", {}, metric=True, gravity_aligned=False)
    for name in ("first", "second"):
        align_map(copied / name, copied / name, lambda _: fit, overwrite=True)
    again = open_map_or_atlas(copied / "both")
    assert again.identity.frame == atlas.identity.frame
    np.testing.assert_allclose(again.points, atlas.points, atol=1e-9)
    np.testing.assert_allclose(again.camera_positions, atlas.camera_positions, atol=1e-9)


def contradicting(folder, metres):
    """An atlas whose second map is said to lie exactly where it does not."""
    values = yaml.safe_load((folder / "both" / ATLAS_NAME).read_text())
    values["maps"]["second"]["atlas_from_map"]["translation"]["x"] += metres
    values["maps"]["second"]["covariance"] = [1e-5, 1e-5, 1e-5, 1e-6, 1e-6, 1e-6, 1e-6]
    (folder / "given.yaml").write_text(yaml.safe_dump(values))
    make_atlas([folder / "first", folder / "second"], folder / "given", folder / "given.yaml")
    return open_map_or_atlas(folder / "given")


def test_a_place_that_two_maps_explain_by_other_poses_is_ambiguous(copied, room):
    engine = AnchorEngine(contradicting(copied, 0.1))
    assert [look(engine, room.images[row]).reason for row in (0, 2, 6, 22)] == [Reason.AMBIGUOUS_PLACE] * 4
    far = look(engine, room.images[ONLY_IN_SECOND])
    assert (far.atlas_map, isinstance(far, AnchorPose)) == ("second", True)


def test_given_transforms_take_the_place_of_a_search(copied, room, monkeypatch):
    monkeypatch.setattr("visloc_ros.mapping.merging.map_links.MapSearch", None)
    found = look(AnchorEngine(contradicting(copied, 0.0)), room.images[0])
    assert found.map_from_camera.is_close(room.images[0].map_from_camera, 0.02, 0.3)
    assert open_map_or_atlas(copied / "given").atlas.maps[1].placed_by == "given in given.yaml"


class TestRefusals:
    def test_maps_that_share_nothing_are_named(self, copied):
        saved(part_of_room([12, 27, 28, 29], "away"), copied / "away", B_FROM_ROOM, metric=False)
        with pytest.raises(MapError, match="nothing links 'away' with 'first': film a passage"):
            make_atlas([copied / "first", copied / "away"], copied / "new")
        assert not (copied / "new").exists()

    def test_a_map_that_has_changed_or_gone(self, copied):
        shutil.rmtree(copied / "second")
        with pytest.raises(MapError, match="there is no map at"):
            open_map_or_atlas(copied / "both")
        shutil.copytree(copied / "first", copied / "second")
        with pytest.raises(MapError, match="has changed since the atlas was made"):
            open_map_or_atlas(copied / "both")

    @pytest.mark.parametrize("name", [ATLAS_NAME, "index.h5"])
    def test_a_damaged_file(self, copied, name):
        content = bytearray((copied / "both" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copied / "both" / name).write_bytes(content)
        with pytest.raises(MapError, match="has changed since the map was built"):
            open_map_or_atlas(copied / "both")

    def test_maps_that_lie_elsewhere_or_are_named_twice(self, copied, tmp_path):
        with pytest.raises(ConfigError, match="does not lie beside"):
            make_atlas([copied / "first", copied / "second"], tmp_path / "new")
        with pytest.raises(ConfigError, match="named twice"):
            make_atlas([copied / "first", copied / "first"], copied / "new")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"second": {}}, "lacks or garbles an entry of the map 'second'"),
            ({"second": {"atlas_from_map": {"scale": 0.0}}}, "the transform is not finite"),
            ({"second": {"atlas_from_map": {"rotation": dict.fromkeys("wxyz", 0.0)}}}, "no rotation"),
            ({"second": {"covariance": [1.0, float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0]}}, "not finite"),
            ({"second": {"covariance": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]}}, "variance is negative"),
            ({"../second": {}}, "outside its folder"),
            ({"third": {}}, "which is none of these maps: first, second"),
            ({"first": {}}, "name the map first that stays"),
            ({}, "names no maps"),
        ],
    )
    def test_transforms_that_say_nothing(self, copied, change, message):
        usual = {
            "atlas_from_map": {
                "translation": {"x": 1.0, "y": 0.0, "z": 0.0},
                "rotation": {"w": 1.0, "x": 0.0, "y": 0.0, "z": 0.0},
            },
            "covariance": [1.0] * 7,
        }
        entries = {}
        for name, values in change.items():
            entries[name] = {**usual, **values}
            entries[name]["atlas_from_map"] = {**usual["atlas_from_map"], **values.get("atlas_from_map", {})}
            if name == "second" and not values:
                del entries[name]["covariance"]
        (copied / "given.yaml").write_text(yaml.safe_dump({"maps": entries}))
        with pytest.raises((MapError, ConfigError), match=message):
            make_atlas([copied / "first", copied / "second"], copied / "new", copied / "given.yaml")


NAMES = ["a", "b", "c"]
ROOMS = [Sim3.identity(), Sim3(2.0, rotation_matrix([0.0, 0.0, 1.0]), np.array([5.0, 0.0, 0.0]))]
ROOMS.append(Sim3(0.5, rotation_matrix([0.0, 0.1, -1.0]), np.array([5.0, 4.0, 0.0])))
KNOWN = {0: (SimilarityEstimate.exact(Sim3.identity()), "its own frame")}


def link(a, b, images, error=0.0):
    exact = ROOMS[a].inverse @ ROOMS[b]
    return MapLink(
        a, b, SimilarityEstimate(perturbed_similarity(exact, np.full(7, error)), 1e-4 * np.eye(7)), images, ""
    )


class TestPlaces:
    def test_maps_are_placed_along_the_links_with_most_images(self):
        placed = place_along([link(0, 2, 3, 0.01), link(0, 1, 20), link(1, 2, 20)], NAMES, KNOWN)
        assert np.allclose(placed[2][0].a_from_b @ np.eye(3), ROOMS[2] @ np.eye(3))
        assert np.trace(placed[2][0].covariance) > np.trace(placed[1][0].covariance) > 0.0

    def test_a_link_serves_from_both_sides(self):
        placed = place_along([link(1, 2, 5), link(0, 2, 5)], NAMES, KNOWN)
        assert np.allclose(placed[1][0].a_from_b @ np.eye(3), ROOMS[1] @ np.eye(3))

    def test_a_loop_that_does_not_close_is_refused(self):
        with pytest.raises(MapError, match="'c' lies elsewhere than by its links to others"):
            place_along([link(0, 1, 20), link(1, 2, 20), link(0, 2, 3, 0.5)], NAMES, KNOWN)

    def test_geotags_link_maps_that_share_no_images(self, made, room):
        first, second = [open_map(made[0] / name) for name in ("first", "second")]
        origin = {"latitude": 55.7, "longitude": 13.2, "altitude": 30.0}
        east = {**origin, "longitude": 13.2 + 100.0 / 62_900.0}
        away = part_of_room([12, 27, 28, 29], "away")
        on_earth = [_with_origin(map_, values) for map_, values in ((first, origin), (away, east), (second, origin))]
        found = find_links(on_earth[:2], NAMES, {}, SilentProgress())
        assert [(one.a, one.b, one.images, one.source) for one in found.links] == [(0, 1, 0, "geotags")]
        assert found.links[0].estimate.a_from_b.translation == pytest.approx([100.0, 0.0, 0.0], abs=1.0)
        assert np.sqrt(found.links[0].estimate.covariance[0, 0]) == pytest.approx(5.0 * 2**0.5)


def _with_origin(map_, origin):
    return replace(map_, manifest=replace(map_.manifest, metric=True, gravity_aligned=True, geo_origin=origin))


@pytest.fixture
def seen():
    """A frame of a drive through the room, and its true pose."""
    drive = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
    return drive.frame(0), drive.pose(0)


def test_an_anchor_node_searches_an_atlas(made, seen, ros_domain):
    pytest.importorskip("rclpy")
    from node_harness import localize_request, started

    from visloc_msgs.srv import Localize
    from visloc_ros.nodes.anchor_node import AnchorNode
    from visloc_ros.sources import ros_messages

    frame, map_from_camera = seen
    with started(AnchorNode, "-p", f"map_path:={made[0] / 'both'}") as harness:
        answer = harness.call(Localize, "anchor_node/localize", localize_request(frame))
    assert answer.anchor.accepted, answer.message
    assert ros_messages.pose_from_msg(answer.anchor.pose.pose).is_close(map_from_camera, 0.03, 0.5)
    assert answer.anchor.map_name == "both"
