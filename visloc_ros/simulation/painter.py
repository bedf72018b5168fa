"""Painted rectangles and boxes, of which simulated places consist."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visloc_ros.core.geometry import rotation_matrix
from visloc_ros.simulation.room import Quad, make_quad
from visloc_ros.simulation.textures import Material

_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Painter:
    """Makes quads whose texture depends only on the seed and the quad's name; ``density`` is in texels a metre."""

    seed: int
    density: float = 330.0

    def panel(
        self, name: str, centre: ArrayLike, normal: ArrayLike, up: ArrayLike, size: tuple[float, float],
        material: Material, density: float | None = None,
    ) -> Quad:  # fmt: skip
        """A painted rectangle of ``size`` metres."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        return make_quad(name, centre, normal, up, size, material(rng, *size, density or self.density))

    def box(
        self, name: str, foot: ArrayLike, size: tuple[float, float, float], material: Material,
        front: Material | None = None, yaw_deg: float = 0.0, hidden: tuple[str, ...] = ("bottom",),
    ) -> Iterator[Quad]:  # fmt: skip
        """A box of (width, depth, height) on ``foot``, the middle of its base; at yaw 0 its front looks along -y."""
        width, depth, height = size
        turn = rotation_matrix(np.radians(yaw_deg) * _Z)
        middle = np.asarray(foot) + 0.5 * height * _Z
        faces = (
            ("front", -_Y, _Z, (width, height), depth), ("back", _Y, _Z, (width, height), depth),
            ("left", -_X, _Z, (depth, height), width), ("right", _X, _Z, (depth, height), width),
            ("top", _Z, _Y, (width, depth), height), ("bottom", -_Z, _Y, (width, depth), height),
        )  # fmt: skip
        for face, normal, up, extent, thickness in faces:
            if face not in hidden:
                surface = front if front is not None and face == "front" else material
                centre = middle + 0.5 * thickness * (turn @ normal)
                yield self.panel(f"{name} {face}", centre, turn @ normal, turn @ up, extent, surface)
