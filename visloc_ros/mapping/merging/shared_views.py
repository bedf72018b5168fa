"""The similarity between two models of one place, from the images that have a pose in both.

Each such image determines a similarity by itself: its two poses give the rotation and the translation, and the
distances of its points, which are in both models, give the scale. So even images in one spot determine the scale, and
the similarity that most of the others agree with is found without random sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3, mean_rotation, rotation_angle_deg
from visloc_ros.core.tangent import pose_difference, similarity_lever_jacobian
from visloc_ros.localization.view_change import typical_depth, view_change

MIN_IMAGES = 3  # that agree: two may both show the same poster, which hangs elsewhere, too
_MIN_POINTS = 10  # in both models: the median of their distances is then good to a few percent
_SAME_VIEW = 0.3  # radians of view change: a fifth of what a camera sees; two poses of one place differ by far less
_MOST_DISAGREEING = 0.5  # of the images in both
_MOST_TRIED = 100  # similarities: the time grows with the square of the images
_MAX_CHANGE = 0.1  # radians, the median: at poses known to 3 cm it is 0.06, with a focal length 20 % too long 0.17
_MAX_SCALE_SPREAD = 0.1  # between images: a bundle adjustment that begins farther off may end anywhere


@dataclass(frozen=True, eq=False)
class SharedView:
    """An image in both models: its poses, the typical depth of its points in a, and the scale by it."""

    a_from_camera: SE3
    b_from_camera: SE3
    depth: float
    scale: float

    @staticmethod
    def of(
        a_from_camera: SE3, b_from_camera: SE3, in_a: Array, in_b: Array, all_in_a: Array | None = None
    ) -> SharedView | None:
        """The view by its points (K, 3) in both models, row by row; None where these are too few.

        The depth is that of ``all_in_a``, (L, 3), where given.
        """
        if len(in_a) < _MIN_POINTS:
            return None
        ratios = _distances(a_from_camera, in_a) / _distances(b_from_camera, in_b)
        depth = typical_depth(a_from_camera, in_a if all_in_a is None else all_in_a)
        return SharedView(a_from_camera, b_from_camera, depth, float(np.median(ratios)))

    @property
    def a_from_b(self) -> Sim3:
        """The similarity by this image alone."""
        return _through([self], self.scale, self.a_from_camera.rotation @ self.b_from_camera.rotation.T)

    def change(self, a_from_b: Sim3) -> float:
        """View change in radians from where the image is in a to where a similarity puts it."""
        return view_change(self.a_from_camera, self.depth, a_from_b.apply_to_pose(self.b_from_camera))


@dataclass(frozen=True, eq=False)
class Agreement:
    """``a_from_b``, which of the views (N,) agree with it, and the spread of their scales, relative."""

    a_from_b: Sim3
    agrees: NDArray[np.bool_]
    scale_spread: float


def agree(a: str, b: str, views: Sequence[SharedView]) -> Agreement:
    """The similarity that most views of models with these names, at least three, agree with.

    Raises MapError where they contradict each other, or do not determine it.
    """
    agrees = _largest_agreement(a, b, views)
    agreed = [view for view, good in zip(views, agrees, strict=True) if good]
    if len(agreed) < max(MIN_IMAGES, (1.0 - _MOST_DISAGREEING) * len(views)):
        raise MapError(
            f"of {len(views)} images of '{b}' that are found in '{a}' only {len(agreed)} agree on how the maps "
            "lie to each other: one of them is bent, or what they show has moved; build the worse one again "
            "(their map cards show it)"
        )
    scale, spread = _scale(agreed)
    if spread > _MAX_SCALE_SPREAD:
        raise MapError(
            f"the scale of '{b}' in '{a}' is known only to {100 * spread:.0f} %: the images that they share "
            "show too little depth, or too little of it; film a longer passage that shows what both maps show"
        )
    a_from_b = _through(agreed, scale, mean_rotation([view.a_from_b.rotation for view in agreed]))
    _check_fit(a, b, a_from_b, agreed)
    return Agreement(a_from_b, agrees, spread)


def residuals(agreement: Agreement, views: Sequence[SharedView]) -> dict[str, float]:
    """How well the views fit, in the units of a and in degrees, for ``Manifest.merged``."""
    a_from_b = agreement.a_from_b
    agreed = [view for view, good in zip(views, agreement.agrees, strict=True) if good]
    pairs = [(a_from_b.apply_to_pose(view.b_from_camera), view.a_from_camera) for view in agreed]
    distances = [np.linalg.norm(placed.translation - known.translation) for placed, known in pairs]
    turns = [rotation_angle_deg(placed.rotation, known.rotation) for placed, known in pairs]
    return {
        "images": len(agreed),
        "left_out": len(views) - len(agreed),
        "scale": a_from_b.scale,
        "scale_spread": agreement.scale_spread,
        "median": float(np.median(distances)),
        "median_deg": float(np.median(turns)),
    }


def covariance(agreement: Agreement, views: Sequence[SharedView]) -> Array:
    """Covariance (7, 7) of ``a_from_b``, as in ``core.tangent``, by how single views differ from it.

    Their mean is taken as no better than one of them: they share the errors of both models.
    """
    a_from_b = agreement.a_from_b
    agreed = [view for view, good in zip(views, agreement.agrees, strict=True) if good]
    placed = [a_from_b.apply_to_pose(view.b_from_camera) for view in agreed]
    errors = np.array([pose_difference(view.a_from_camera, one) for view, one in zip(agreed, placed, strict=True)])
    stretches = np.log([view.scale / a_from_b.scale for view in agreed])
    of_axis = [np.square(errors[:, :3]).mean(), np.square(errors[:, 3:]).mean(), np.square(stretches).mean()]
    variances = np.repeat(of_axis, [3, 3, 1]) * len(agreed) / (len(agreed) - 1)
    middle = np.mean([one.translation for one in placed], axis=0)
    jacobian = similarity_lever_jacobian(a_from_b.translation - middle)
    return np.asarray(jacobian @ np.diag(variances) @ jacobian.T)


def _check_fit(a: str, b: str, a_from_b: Sim3, agreed: Sequence[SharedView]) -> None:
    change = float(np.median([view.change(a_from_b) for view in agreed]))
    if change > _MAX_CHANGE:
        raise MapError(
            f"images of '{b}' are found in '{a}' with a view that is {math.degrees(change):.0f} deg off from "
            "where their own map has them: one map is bent, or was made with a wrong focal length; build it again with "
            "the calibration of its camera (--camera FILE)"
        )


def _largest_agreement(a: str, b: str, views: Sequence[SharedView]) -> NDArray[np.bool_]:
    """Which of the views (N,) agree with the similarity that fits most of them best. MapError where two do."""
    tried = np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_TRIED)).round().astype(int))
    changes = np.array([[view.change(views[row].a_from_b) for view in views] for row in tried])
    agreement = changes <= _SAME_VIEW
    best = int(np.argmax(np.maximum(0.0, 1.0 - np.square(changes / _SAME_VIEW)).sum(axis=1)))
    elsewhere = agreement[~np.any(agreement & agreement[best], axis=1)].sum(axis=1).max(initial=0)
    if elsewhere >= MIN_IMAGES and 2 * elsewhere > agreement[best].sum():
        raise MapError(
            f"'{b}' fits '{a}' in two ways, by {agreement[best].sum()} images and by {elsewhere}: two places "
            "look alike, or one map is bent; film a passage that shows how they differ and extend a map by it"
        )
    return np.asarray(agreement[best])


def _distances(map_from_camera: SE3, points: Array) -> Array:
    return np.asarray(np.linalg.norm(points - map_from_camera.translation, axis=1))


def _scale(views: Sequence[SharedView]) -> tuple[float, float]:
    """The median of the views' scales, and their standard deviation, relative."""
    logs = np.log([view.scale for view in views])
    middle = float(np.median(logs))
    return math.exp(middle), 1.4826 * float(np.median(np.abs(logs - middle)))


def _through(views: Sequence[SharedView], scale: float, rotation: Array) -> Sim3:
    """The similarity of this scale and rotation that puts the views where they were found, by the median."""
    offsets = [view.a_from_camera.translation - scale * rotation @ view.b_from_camera.translation for view in views]
    return Sim3(scale, rotation, np.median(offsets, axis=0))
