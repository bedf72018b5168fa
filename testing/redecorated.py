"""The living room after people have changed it: things swapped, others replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from testing.look_alike import PICTURES
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Quad, Room

BOXES = (
    "sideboard crate", "sideboard books", "desk box", "desk books", "chest box", "bench books", "bench box",
    "low table books", "low table box",
)  # fmt: skip
"""Things that stand on furniture, and may stand elsewhere."""

_FIXED = ("desk screen",)  # what a box must not be put into
_MOVED_SHARE = 2.0 / 3.0  # of the changed pictures; the others are replaced


@dataclass(frozen=True)
class Changes:
    """Names of the pictures and boxes that hang or stand elsewhere, by whose place they took, and of new pictures."""

    moved: Mapping[str, str]
    replaced: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Everything that changed."""
        return frozenset(self.moved) | frozenset(self.replaced)


def redecorate(room: Room, share: float, seed: int) -> tuple[Room, Changes]:
    """Change a ``share`` of a living room's pictures, and of the boxes on its furniture; give what has changed.

    Two thirds of these pictures are swapped with one on another wall, where both fit, the others are replaced by those
    of the living room of ``seed``, which must not be that of ``room``. Boxes are swapped. Raises ValueError where not
    enough of them fit.
    """
    rng = np.random.default_rng(seed)
    pictures = _count(share, PICTURES)
    room, moved = _swap(room, PICTURES, round(_MOVED_SHARE * pictures / 2), rng)
    kept = [name for name in PICTURES if name not in moved]
    replaced = tuple(str(name) for name in rng.permutation(kept)[: pictures - len(moved)])
    room, moved_boxes = _swap(room, BOXES, _count(share, BOXES) // 2, rng)
    return _replace(room, replaced, seed), Changes({**moved, **moved_boxes}, replaced)


def _count(share: float, names: Sequence[str]) -> int:
    return round(share * len(names))


def refurnish(room: Room, share: float, seed: int) -> Room:
    """Replace a ``share`` of all things and surfaces of a living room by those of the living room of ``seed``.

    They have the same places and sizes; ``seed`` must not be that of ``room``.
    """
    things = sorted({_thing(quad) for quad in room.quads})
    chosen = np.random.default_rng(seed).permutation(things)[: round(share * len(things))]
    return _repainted(room, [quad.name for quad in room.quads if _thing(quad) in set(chosen)], seed)


def _replace(room: Room, names: Sequence[str], seed: int) -> Room:
    return _repainted(room, [f"{name} front" for name in names], seed)


def _repainted(room: Room, quads: Sequence[str], seed: int) -> Room:
    """The room with these quads painted as in the living room of another seed."""
    if not quads:
        return room
    other = {quad.name: quad.texture for quad in make_living_room(seed).quads if quad.name in set(quads)}
    return Room(tuple(quad.with_texture(other.get(quad.name, quad.texture)) for quad in room.quads))


def _swap(room: Room, names: Sequence[str], pairs: int, rng: np.random.Generator) -> tuple[Room, dict[str, str]]:
    """Swap pairs of things of these names; give who took whose place."""
    moved: dict[str, str] = {}
    candidates = list(combinations(names, 2))
    for row in rng.permutation(len(candidates)):
        one, other = candidates[row]
        if len(moved) == 2 * pairs:
            break
        if one not in moved and other not in moved and (swapped := _swapped(room, one, other)) is not None:
            room = swapped
            moved |= {one: other, other: one}
    if len(moved) < 2 * pairs:
        raise ValueError(f"only {len(moved)} of {2 * pairs} things fit where another is: change a smaller share")
    return room, moved


def _swapped(room: Room, one: str, other: str) -> Room | None:
    """The room with two things swapped; None where they are on the same wall, or do not fit."""
    places = {name: _place(room, name) for name in (one, other)}
    if one in PICTURES and np.allclose(places[one].rotation, places[other].rotation):
        return None
    moves = {one: places[other] @ places[one].inverse, other: places[one] @ places[other].inverse}
    quads = [_moved(quad, moves[thing]) if (thing := _thing(quad)) in moves else quad for quad in room.quads]
    swapped = Room(tuple(quads))
    return swapped if all(_fits(swapped, name) for name in moves) else None


def _thing(quad: Quad) -> str:
    """The name of the thing that a quad is a side of."""
    return quad.name.rpartition(" ")[0]


def _place(room: Room, thing: str) -> SE3:
    """``map_from_thing``: about the middle of a picture, or of a box's base, seen from its front or from above."""
    is_picture = thing in PICTURES
    side = room.quad(f"{thing} {'front' if is_picture else 'top'}")
    right, down = (edge / np.linalg.norm(edge) for edge in (side.right, side.down))
    middle = side.point(0.5, 0.5)
    if not is_picture:
        middle = np.array([*middle[:2], _bounds(room, thing)[0][2]])
    return SE3(np.column_stack((right, down, np.cross(right, down))), middle)


def _moved(quad: Quad, move: SE3) -> Quad:
    return replace(quad, corner=move @ quad.corner, right=move.rotation @ quad.right, down=move.rotation @ quad.down)


def _fits(room: Room, thing: str) -> bool:
    """Whether a thing is within the room, and apart from all others."""
    low, high = _bounds(room, thing)
    others = (name for name in (*PICTURES, *BOXES, *_FIXED) if name != thing)
    is_inside = bool(np.all(low > -1e-6) and np.all(high < room.size + 1e-6))
    return is_inside and not any(_overlap((low, high), _bounds(room, name)) for name in others)


def _overlap(one: tuple[Array, Array], other: tuple[Array, Array]) -> bool:
    return bool(np.all(one[0] < other[1]) and np.all(other[0] < one[1]))


def _bounds(room: Room, thing: str) -> tuple[Array, Array]:
    """Lowest and highest coordinates (3,) of a thing."""
    corners = [quad.point([0, 1, 1, 0], [0, 0, 1, 1]) for quad in room.quads if _thing(quad) == thing]
    points = np.concatenate(corners)
    return points.min(axis=0), points.max(axis=0)
