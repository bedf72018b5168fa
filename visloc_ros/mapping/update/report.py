"""What an update changed, in words, and as a picture on the map card; or why it changed nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map
from visloc_ros.mapping.top_view import WIDTH, draw_cameras, draw_grid, fit_canvas, ground_rotation

_COLOURS = {"stable": "#9aa3ad", "gone": "#d9482b", "new": "#1d9a5b"}


class UpdateRefusedError(MapError):
    """A recording from which the map must not learn; the message says why."""


@dataclass(frozen=True)
class UpdateReport:
    """What an update did: the version that it made, and how many points and images are gone, new and stable.

    ``taught`` of ``images`` taught the map; ``refused`` counts the others by reason. Images that are ``replaced`` are
    not gone, but made room, with the points that they alone show. ``left_out`` images were to be added, and found no
    place or one that contradicts the map. ``stale`` are the ways of searching for which the map must be prepared again.
    """

    version: int
    session: str
    images: int
    taught: int
    refused: Mapping[str, int]
    gone_points: int
    replaced_points: int
    new_points: int
    stable_points: int
    gone_images: int
    replaced_images: int
    new_images: int
    map_images: int
    left_out: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    def __str__(self) -> str:
        others = ", ".join(f"{count} {reason}" for reason, count in self.refused.items())
        lines = [
            f"version {self.version}: {self.taught} of {self.images} images of '{self.session}' taught the map"
            + (f" (others: {others})" if others else ""),
            f"  points: {self.gone_points} gone, {self.replaced_points} replaced, {self.new_points} new, "
            f"{self.stable_points} stable",
            f"  images: {self.gone_images} gone, {self.replaced_images} replaced, {self.new_images} new, "
            f"{self.map_images} in all",
        ]
        if self.left_out:
            lines.append(f"  {len(self.left_out)} images found no place that agrees with the map, and were not added")
        lines += [f"  the search by {way} needs 'visloc prepare MAP --for {way}' again" for way in self.stale]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class ChangedPoints:
    """Points (N, 3) that an update kept, removed and added, and the poses ``map_from_camera`` of the map's images."""

    stable: Array
    gone: Array
    new: Array
    poses: Sequence[SE3]

    @staticmethod
    def of(new: Map, old: Map, rows: NDArray[np.intp]) -> ChangedPoints:
        """Those of two versions of a map; ``rows`` are the old rows of the new one's points, -1 where there is none."""
        is_old = rows >= 0
        gone = np.delete(old.points, rows[is_old], axis=0)
        poses = [image.map_from_camera for image in new.images]
        return ChangedPoints(new.points[is_old], gone, new.points[~is_old], poses)


def changes_section(report: UpdateReport, changed: ChangedPoints, manifest: Manifest) -> str:
    """A section of the map card, HTML: the words, and the changed points from above."""
    legend = ", ".join(f'<span style="color:{colour}">&#9679;</span> {name}' for name, colour in _COLOURS.items())
    words = "<br>".join(str(report).splitlines())
    picture = _draw(changed, manifest.gravity_aligned, "m" if manifest.metric else "")
    return f"<section><h2>What the last update changed</h2><p>{words}</p><p>{legend}</p>{picture}</section>"


def _draw(changed: ChangedPoints, gravity_aligned: bool, unit: str) -> str:
    rotation = ground_rotation(changed.poses, gravity_aligned=gravity_aligned)
    centres = np.array([pose.translation for pose in changed.poses]) @ rotation.T
    viewing = np.array([pose.rotation[:, 2] for pose in changed.poses]) @ rotation.T
    groups = {"stable": changed.stable, "gone": changed.gone, "new": changed.new}
    turned = {name: points @ rotation.T for name, points in groups.items()}
    canvas = fit_canvas(centres[:, :2], np.concatenate(list(turned.values()))[:, :2])
    paths = []
    for name, points in turned.items():
        dots = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in canvas.to_svg(points[:, :2]))
        paths.append(f'<path d="{dots}" stroke="{_COLOURS[name]}"/>')
    label = "Points that are stable, gone and new, from above"
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH:g} {canvas.height:.0f}" role="img" aria-label="{label}">',
            '<g class="points">', *paths, "</g>",
            draw_grid(canvas, unit), draw_cameras(canvas, centres[:, :2], viewing[:, :2]), "</svg>",
        ]
    )  # fmt: skip
