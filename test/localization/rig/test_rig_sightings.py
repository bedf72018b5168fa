"""How often each camera of a rig was found; one that never joins the others is named, and looked for by itself."""

from dataclasses import replace

import pytest
from rig_world import RigInRoom, turned

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization.rig import RigImage
from visloc_ros.localization.rig.sightings import SightingsByCamera


def localized(rig, frames=4, **others):
    """The rig engine after some rig frames; ``others`` are images instead of those of the room."""
    for index in range(frames):
        body = SE3(rotation_matrix([0.0, 0.0, 0.8 * index]), [0.1 * index, 0.0, 0.0])
        rig.rig_engine.localize(1_000, rig.images(body, keep=0.5) | others)
    return rig.rig_engine


def test_cameras_that_are_found_are_counted_and_not_warned_of(room):
    sightings = localized(RigInRoom(room)).sightings
    assert str(sightings) == "cameras found in the map: 'front' in 4 of 4, 'left' in 4 of 4 searches"
    assert list(sightings.warnings()) == []


def test_a_camera_that_never_sees_the_map_is_named(room):
    rig = RigInRoom(room)
    sightings = localized(rig, left=RigImage(rig.frame(room.clutter(300)))).sightings
    assert "'front' in 4 of 4, 'left' in 0 of 4" in str(sightings)
    (warning,) = sightings.warnings()
    assert warning.startswith(
        "'left' was found in 0 of 4 searches that found another camera: check its rig_from_camera"
    )
    assert "whether it sees the map" in warning
    assert list(sightings.warnings({"left"})) == []


def test_a_camera_that_contradicts_the_others_is_named_before_its_place_is_known(room):
    rig = RigInRoom(room, ("front", "left", "back"))
    rig.mount(turned(rig.rig, "left", 40.0))
    engine = localized(rig)
    assert engine.places.differences() == []
    (warning,) = engine.sightings.warnings()
    assert warning.startswith("'left' was found in 4 of 4 searches that found another camera, and agreed with it in 0:")


def test_a_camera_without_images_is_named():
    sightings = SightingsByCamera(("front", "left"))
    sightings.add(["front"], ["front"], ["front"])
    (warning,) = sightings.warnings()
    assert warning.startswith("'left' was never searched")


@pytest.mark.parametrize("degrees", [40.0, 180.0])
def test_a_place_so_wrong_that_a_search_around_it_finds_nothing_is_measured(room, degrees, monkeypatch):
    rig = RigInRoom(room)
    rig.mount(turned(rig.rig, "left", degrees))
    solve = rig.engine.solve

    def finds_nothing_far_off(query, prior=None):
        answer = solve(query, prior)
        if prior is None or (isinstance(answer, AnchorPose) and prior.is_close(answer.map_from_camera, 0.5, 20.0)):
            return answer
        return Rejection(query.frame.stamp_ns, Reason.FEW_MATCHES)

    monkeypatch.setattr(rig.engine, "solve", finds_nothing_far_off)
    (named,) = localized(rig, frames=8).places.differences()
    assert named.name == "left"
    assert named.degrees == pytest.approx(degrees, abs=0.5)
    assert named.is_contradicted


def test_a_place_that_is_inverted_is_named_so(room):
    rig = RigInRoom(room)
    left = rig.rig.rig_from_camera("left")
    rig.mount(rig.rig.with_place("left", left.inverse))
    (named,) = localized(rig, frames=8).places.differences()
    assert named.is_inverse
    assert not replace(named, observed=named.given).is_inverse


@pytest.mark.parametrize("shown", [("left", "left"), ("front", "front"), ("left", "front")])
def test_cameras_on_wrong_topics_are_named_and_give_no_pose(room, shown):
    rig, last = RigInRoom(room), []
    for index in range(12):
        body = SE3(rotation_matrix([0.0, 0.0, 0.8 * index]), [0.1 * index, 0.0, 0.0])
        images = {name: rig.image(of, body, keep=0.5) for name, of in zip(("front", "left"), shown, strict=True)}
        last.append(rig.rig_engine.localize(1_000, images))
    assert [one.reason for one in last] == [Reason.RIG_MISMATCH] * 12
    assert rig.rig_engine.places.unusable == {"front", "left"}
    (named,) = rig.rig_engine.places.differences()
    assert named.is_exchanged if shown == ("left", "front") else "show the same images" in str(named)
