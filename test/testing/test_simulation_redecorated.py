import numpy as np
import pytest

from testing.look_alike import PICTURES
from testing.redecorated import BOXES, redecorate

SEED = 7


@pytest.fixture(scope="module")
def changed(living_room):
    return redecorate(living_room, 0.4, SEED)


def thing(quad):
    return quad.name.rpartition(" ")[0]


def test_as_much_changes_as_asked_and_nothing_else(living_room, changed):
    room, changes = changed
    assert len(changes.names & set(PICTURES)) == round(0.4 * len(PICTURES))
    assert len(changes.names & set(BOXES)) == round(0.4 * len(BOXES))
    assert changes.names <= {*PICTURES, *BOXES}
    differing = {thing(new) for old, new in zip(living_room.quads, room.quads, strict=True) if new is not old}
    kept_textures = [new.texture is old.texture for old, new in zip(living_room.quads, room.quads, strict=True)]
    assert changes.names <= differing
    assert kept_textures.count(False) == len(changes.replaced)
    for old, new in zip(living_room.quads, room.quads, strict=True):
        if thing(old) not in changes.moved:
            assert (new.name, new.corner is old.corner) == (old.name, True)


def test_pictures_that_move_hang_flat_on_another_wall_with_their_frames(living_room, changed):
    room, changes = changed
    moved = {name: place for name, place in changes.moved.items() if name in PICTURES}
    assert moved
    for name, place in moved.items():
        picture, old, taken = room.quad(f"{name} front"), living_room.quad(f"{name} front"), f"{place} front"
        assert np.allclose(picture.normal, living_room.quad(taken).normal)
        assert not np.allclose(picture.normal, old.normal)
        assert np.allclose(picture.point(0.5, 0.5), living_room.quad(taken).point(0.5, 0.5))
        assert picture.size == pytest.approx(old.size)
        for side in ("left", "top"):
            before, after = (one.quad(f"{name} {side}") for one in (living_room, room))
            distances = [
                np.linalg.norm(frame.point(0.5, 0.5) - front.point(0.5, 0.5))
                for frame, front in ((before, old), (after, picture))
            ]
            assert distances[0] == pytest.approx(distances[1])


def test_boxes_that_move_stand_upright_where_the_other_stood(living_room, changed):
    room, changes = changed
    moved = {name: place for name, place in changes.moved.items() if name in BOXES}
    assert moved
    for name, place in moved.items():
        top, of_place = room.quad(f"{name} top"), living_room.quad(f"{place} top")
        assert np.allclose(top.normal, [0, 0, 1])
        assert np.allclose(top.point(0.5, 0.5)[:2], of_place.point(0.5, 0.5)[:2])
        assert foot(room, name) == pytest.approx(foot(living_room, place))


def foot(room, name):
    return min(quad.point([0, 0, 1], [0, 1, 1])[:, 2].min() for quad in room.quads if thing(quad) == name)


def test_what_a_camera_sees_of_a_changed_thing_is_where_it_is(changed):
    room, changes = changed
    for name in changes.names:
        side = f"{name} {'front' if name in PICTURES else 'top'}"
        row = [quad.name for quad in room.quads].index(side)
        quad = room.quads[row]
        points = quad.point([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
        hits = room.cast(points + 0.05 * quad.normal, np.tile(-quad.normal, (3, 1)))
        assert hits.quad_rows.tolist() == [row] * 3
        assert np.allclose(hits.distances, 0.05)


def test_the_same_seed_changes_the_same(living_room, changed):
    room, changes = redecorate(living_room, 0.4, SEED)
    assert changes == changed[1]
    for ours, theirs in zip(room.quads, changed[0].quads, strict=True):
        assert np.array_equal(ours.corner, theirs.corner)
        assert np.array_equal(ours.texture, theirs.texture)


def test_nothing_changes_without_a_share(living_room):
    room, changes = redecorate(living_room, 0.0, SEED)
    assert not changes.names
    assert all(new is old for old, new in zip(living_room.quads, room.quads, strict=True))


def test_more_than_there_is_cannot_change(living_room):
    with pytest.raises(ValueError, match="change a smaller share"):
        redecorate(living_room, 2.0, SEED)
