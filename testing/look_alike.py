"""Rooms that are easily mistaken for another one: the same pictures, but on other walls of another room."""

from __future__ import annotations

import math

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.simulation.living_room import LENGTH, make_living_room
from visloc_ros.simulation.room import Quad, Room

PICTURES = (
    "mosaic", "hills", "note", "study", "composition", "valley", "print", "triptych left", "triptych middle",
    "triptych right", "letter", "sketch", "window", "poster", "glass",
)  # fmt: skip

_OPPOSITE_WALLS = {"north wall": "south wall", "east wall": "west wall"}
_MIRROR = np.diag([-1.0, 1.0, 1.0])


def make_look_alike(room: Room, seed: int) -> Room:
    """Make another room with all pictures of the living room ``room``, none of them in its old place.

    Its plan is the mirror image of the living room's, opposite walls swap their materials, and everything is painted
    from another ``seed``, which must not be that of ``room``. Each picture keeps its size in metres, so that seen
    alone it looks exactly as in ``room``: only the pictures' places and surroundings distinguish the two.
    """
    other = {quad.name: _in_mirrored_plan(quad) for quad in _swap_walls(make_living_room(seed)).quads}
    places = np.random.default_rng(seed).permutation(len(PICTURES))
    for place, picture in zip(places.tolist(), np.roll(places, 1).tolist(), strict=True):
        name = f"{PICTURES[place]} front"
        other[name] = _rehang(room.quad(f"{PICTURES[picture]} front"), other[name])
    return Room(tuple(other.values()))


def close_up(picture: Quad, camera: pycolmap.Camera, share: float) -> SE3:
    """Pose ``map_from_camera`` straight in front of a picture, which fills about a ``share`` of the image's area."""
    width, height = picture.size
    distance = camera.mean_focal_length() * math.sqrt(width * height / (share * camera.width * camera.height))
    rotation = np.stack([picture.right / width, picture.down / height, -picture.normal], axis=1)
    return SE3(rotation, picture.point(0.5, 0.5) + distance * picture.normal)


def _swap_walls(room: Room) -> Room:
    partners = _OPPOSITE_WALLS | {second: first for first, second in _OPPOSITE_WALLS.items()}
    textures = {name: room.quad(partner).texture for name, partner in partners.items()}
    return Room(tuple(quad.with_texture(textures.get(quad.name, quad.texture)) for quad in room.quads))


def _in_mirrored_plan(quad: Quad) -> Quad:
    """The quad where a mirror across the room's length shows it, its texture still the right way round."""
    right, down = _MIRROR @ quad.right, _MIRROR @ quad.down
    return Quad(quad.name, _mirrored_point(quad.corner) + right, -right, down, quad.texture)


def _mirrored_point(point: Array) -> Array:
    return np.asarray(_MIRROR @ point + [LENGTH, 0.0, 0.0])


def _rehang(picture: Quad, place: Quad) -> Quad:
    """The picture, about the centre of another one and turned as that one is."""
    width, height = picture.size
    right, down = (edge / np.linalg.norm(edge) for edge in (place.right, place.down))
    centre = place.corner + 0.5 * (place.right + place.down)
    corner = centre - 0.5 * (width * right + height * down)
    return Quad(place.name, corner, width * right, height * down, picture.texture)
