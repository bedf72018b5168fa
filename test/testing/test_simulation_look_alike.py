import numpy as np
import pycolmap
import pytest

from testing.look_alike import PICTURES, close_up, make_look_alike
from visloc_ros.core.camera import project
from visloc_ros.simulation.living_room import LENGTH

HUNG = {f"{picture} front" for picture in PICTURES}


@pytest.fixture(scope="module")
def look_alike(living_room):
    return make_look_alike(living_room, seed=101)


def fronts(room):
    return {picture: room.quad(f"{picture} front") for picture in PICTURES}


def test_every_picture_hangs_once_and_not_where_it_hung(living_room, look_alike):
    old, new = fronts(living_room), fronts(look_alike)
    places = {
        picture: [place for place, quad in new.items() if quad.texture is old[picture].texture] for picture in PICTURES
    }
    assert all(len(found) == 1 and found != [picture] for picture, found in places.items())


def test_pictures_keep_their_size_and_hang_flat_about_the_centre_of_another(living_room, look_alike):
    sizes = {id(quad.texture): quad.size for quad in fronts(living_room).values()}
    for picture, quad in fronts(look_alike).items():
        place = living_room.quad(f"{picture} front")
        x, y, z = place.point(0.5, 0.5)
        assert quad.size == pytest.approx(sizes[id(quad.texture)])
        assert np.allclose(quad.point(0.5, 0.5), [LENGTH - x, y, z])
        assert np.allclose(quad.normal, place.normal * [-1, 1, 1])


def test_everything_stands_where_a_mirror_shows_it_and_faces_the_room(living_room, look_alike):
    for ours, theirs in zip(living_room.quads, look_alike.quads, strict=True):
        assert ours.name == theirs.name
        assert np.allclose(theirs.normal, ours.normal * [-1, 1, 1])
        if ours.name not in HUNG:
            corners = [
                {tuple(np.round(point, 6)) for point in quad.point([0, 0, 1, 1], [0, 1, 0, 1])}
                for quad in (ours, theirs)
            ]
            assert {(round(LENGTH - x, 6), y, z) for x, y, z in corners[0]} == corners[1]


def test_nothing_else_looks_as_in_the_first_room(living_room, look_alike):
    for ours, theirs in zip(living_room.quads, look_alike.quads, strict=True):
        if ours.name not in HUNG:
            assert not np.array_equal(ours.texture, theirs.texture)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_close_up_shows_the_picture_upright_in_the_middle_and_as_large_as_asked(look_alike, share):
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 500, 320, 240])
    picture = look_alike.quad("poster front")
    pose = close_up(picture, camera, share)
    left, top, right, bottom = project(camera, pose.inverse @ picture.point([0, 1], [0, 1])).ravel()
    assert (right - left) * (bottom - top) == pytest.approx(share * 640 * 480)
    assert (left + right) / 2 == pytest.approx(320)
    assert (top + bottom) / 2 == pytest.approx(240)
    assert right > left
    assert bottom > top
