"""Headings of views, held against the motions between the views and against their positions.

A compass sticks, or iron turns it: then all headings may agree with each other and none is right. Matches alone give
the rotations of the views relative to each other, and their positions turn all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pycolmap

from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.solving.adjustment import LEAST_SIGMA_M
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.observations import Observations, Scene, observe
from visloc_geo.solving.star import levelled_rotations, placed, reconstruct
from visloc_geo.solving.two_view import VerifiedView
from visloc_geo.solving.types import Tag
from visloc_geo.solving.view_rotation import MOTION_SIGMA_DEG
from visloc_ros.core.geometry import Array
from visloc_ros.core.statistics import chi_square_quantile

_MOST_SIGMAS = 3.0  # between two right headings
_MOST_SIGMAS_OF_ALL = 4.0  # between the headings of all views and their positions
_BY_CHANCE = 0.99  # probability of smaller differences of right headings
_LEAST_SHARE = 0.65  # of the views whose headings agree: with fewer nothing says which of them are right


def with_right_headings(
    camera: pycolmap.Camera, keypoints: Array, views: Sequence[VerifiedView], config: SolvingConfig
) -> list[VerifiedView]:
    """The views without the headings that the others, or the positions of all, contradict.

    If less than two thirds of the headings agree, or those that do contradict the positions, all are left out.
    """
    bodies = [one.reference.panorama or one.reference.name for one in views]
    if len({body for body, one in zip(bodies, views, strict=True) if one.reference.tag.has_heading}) < 2:
        return list(views)
    without = [_without_heading(one) for one in views]
    observations, _ = observe(camera, keypoints, without, None)
    star = reconstruct(observations, [one.query_from_view for one in views], config)
    if star is None:
        return list(views)
    by_positions = placed(star, observations)
    rotations = levelled_rotations(star, observations) if by_positions is None else by_positions.rotations
    # One of each panorama, whose views share the error of their headings: that with the most matches, which come first.
    is_known = [one.reference.tag.has_heading and star.is_placed[row + 1] for row, one in enumerate(views)]
    rows = np.array(sorted({bodies[row]: row for row in reversed(np.flatnonzero(is_known).tolist())}.values()))
    if len(rows) < 2:
        return list(views)
    tags = [views[row].reference.tag for row in rows]
    offsets = np.array([_heading_by(tag, rotations[row + 1]) for row, tag in zip(rows, tags, strict=True)])
    sigmas = np.hypot([tag.heading_sigma_deg for tag in tags], MOTION_SIGMA_DEG)
    agree = _largest_group(offsets, sigmas)
    common = _mean_deg(offsets[agree])
    squares = float(np.square(heading_difference_deg(offsets[agree], np.asarray(common)) / sigmas[agree]).sum())
    if agree.mean() < _LEAST_SHARE or squares > chi_square_quantile(_BY_CHANCE, max(int(agree.sum()) - 1, 1)):
        return without
    if by_positions is not None:
        sigma = float(np.hypot(np.median(sigmas[agree]), _turn_sigma_deg(observations, by_positions)))
        if abs(common) > _MOST_SIGMAS_OF_ALL * sigma:
            return without
    wrong = {bodies[row] for row in rows[~agree]}
    return [without[row] if bodies[row] in wrong else one for row, one in enumerate(views)]


def _without_heading(view: VerifiedView) -> VerifiedView:
    tag = replace(view.reference.tag, heading_sigma_deg=np.inf)
    return replace(view, reference=replace(view.reference, tag=tag))


def _heading_by(tag: Tag, rotation: Array) -> float:
    """The heading of a tag less that of a rotation (3, 3), from -180 to 180 degrees."""
    assert tag.rotation is not None
    return heading_difference_deg(angles_of(tag.rotation)[0], angles_of(rotation)[0])


def _largest_group(offsets: Array, sigmas: Array) -> np.ndarray:
    """Which of the offsets (N,) in degrees agree with the one that most agree with."""
    differences = heading_difference_deg(offsets[:, None], offsets)
    agree = np.abs(differences) <= _MOST_SIGMAS * np.hypot(sigmas[:, None], sigmas)
    return np.asarray(agree[int(np.argmax(agree.sum(axis=1)))])


def _mean_deg(angles: Array) -> float:
    """Mean of angles (N,) in degrees about the circle."""
    radians = np.radians(angles)
    return float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())))


def _turn_sigma_deg(observations: Observations, scene: Scene) -> float:
    """Standard deviation of the heading that the positions of the placed views give all of them."""
    views = [view for view in range(1, len(scene.centres)) if np.isfinite(scene.centres[view]).all()]
    centres = scene.centres[views, :2]
    weights = np.array([max(observations.tags[view].position_sigma_m, LEAST_SIGMA_M) ** -2.0 for view in views])
    middle = np.average(centres, axis=0, weights=weights)
    information = float((weights * np.square(centres - middle).sum(axis=1)).sum())
    return float(np.degrees(1.0 / np.sqrt(max(information, np.finfo(np.float64).tiny))))
