"""Cameras that zoom, or change their lens, within a source: they become cameras of their own from there on.

One camera for all its images would fit half of them, and pull the others towards the scene or away from it. A zoom
shows as a step between two images that follow each other: all pairs across it are scaled alike, whatever their
distance, and those on either side are not. A leap of the camera does so, too: which of the two it was, the focal
lengths show that structure from motion then finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import with_focal_length
from visloc_ros.mapping.camera_knowledge import focal_sigma
from visloc_ros.mapping.collection import MapFrame
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.matching import PairMatches

_LEAST_FACTOR = 1.1
_REACH = 3  # images before and after a change, pairs of which are looked at
_LEAST_MATCHES, _LEAST_PAIRS = 30, 2
_MOST_SPREADS = 4.0  # of the scales on either side; those across a change are further from these
_SURE = 3.0  # standard deviations, from which on two focal lengths differ
_TO_SIGMA = 1.48  # of a median absolute deviation


@dataclass(frozen=True)
class ZoomChange:
    """A change of the focal length by a factor, at the frame in a row, which is the first after it."""

    row: int
    factor: float


def find_zoom_changes(frames: Sequence[MapFrame], matches: PairMatches) -> list[ZoomChange]:
    """Where the images of a source that share a camera seem to zoom, by the matches between them."""
    steps = {row: _step(frames, matches, row) for row in range(1, len(frames))}
    found = []
    for row, step in steps.items():
        nearby = range(row - _REACH, row + _REACH + 1)
        if step and abs(step) == max(abs(steps.get(other, 0.0)) for other in nearby):
            found.append(ZoomChange(row, math.exp(step)))
    return found


def split_cameras(frames: Sequence[MapFrame], changes: Sequence[ZoomChange]) -> list[MapFrame]:
    """The frames, those after each change with a camera of their own, whose focal length is to be estimated."""
    split = list(frames)
    for change in changes:
        before = split[change.row].camera
        focal_length = change.factor * before.intrinsics.mean_focal_length()
        zoomed = MapCamera(with_focal_length(before.intrinsics, focal_length), calibrated=False)
        split[change.row :] = [
            replace(frame, camera=zoomed) if frame.camera is before else frame for frame in split[change.row :]
        ]
    return split


def confirmed_changes(
    changes: Sequence[ZoomChange], frames: Sequence[MapFrame], model: pycolmap.Reconstruction
) -> list[ZoomChange]:
    """The changes across which a model of these frames, split there, has focal lengths that certainly differ."""
    by_name = {image.name: image for image in map(model.image, model.reg_image_ids())}
    found = []
    for change in changes:
        pairs = [_focal_length(model, frames[row].camera, frames, by_name) for row in (change.row - 1, change.row)]
        (before, before_sigma), (after, after_sigma) = pairs
        least = max(math.log(_LEAST_FACTOR), _SURE * math.hypot(before_sigma, after_sigma))
        if before and after and abs(math.log(after / before)) > least:
            found.append(replace(change, factor=after / before))
    return found


def _focal_length(
    model: pycolmap.Reconstruction,
    camera: MapCamera,
    frames: Sequence[MapFrame],
    by_name: Mapping[str, pycolmap.Image],
) -> tuple[float, float]:
    """Focal length in pixels of a camera in a model, and its relative standard deviation; 0 if no image has it."""
    images = [by_name[frame.name] for frame in frames if frame.camera is camera and frame.name in by_name]
    if not images:
        return 0.0, 0.0
    found = model.cameras[images[0].camera_id]
    sigma = 0.0 if camera.calibrated else focal_sigma(model, pycolmap.Camera(found.todict()), images)
    return float(found.mean_focal_length()), sigma


def described(changes: Sequence[ZoomChange], frames: Sequence[MapFrame]) -> str:
    """What a user must know of a map that has several cameras for one source."""
    places = ", ".join(f"{frames[change.row].name} ({change.factor:.2g} times)" for change in changes)
    return (
        f"the camera zooms, or changes its lens, at {places}: the images from there on have a camera of their own, its "
        "focal length estimated. Localize by the one, or the other, without zooming"
    )


def _step(frames: Sequence[MapFrame], matches: PairMatches, row: int) -> float:
    """Logarithm of the scale by which images change at a row; 0 where it is not certainly a step."""
    rows = range(max(0, row - _REACH), min(row + _REACH, len(frames)))
    together = [one for one in rows if _is_of_one_camera(frames[one], frames[row])]
    before, after = [one for one in together if one < row], [one for one in together if one >= row]
    inside = np.array([*_scales(frames, matches, before, before), *_scales(frames, matches, after, after)])
    across = np.array(list(_scales(frames, matches, before, after)))
    if min(len(inside), len(across)) < _LEAST_PAIRS:
        return 0.0
    drift = float(np.median(inside[:, 1] / inside[:, 0]))
    spread = _TO_SIGMA * float(np.median(np.abs(inside[:, 1] - drift * inside[:, 0])))
    step = float(np.median(across[:, 1] - drift * across[:, 0]))
    return step if abs(step) > max(math.log(_LEAST_FACTOR), _MOST_SPREADS * spread) else 0.0


def _is_of_one_camera(one: MapFrame, other: MapFrame) -> bool:
    return one.source == other.source and one.camera is other.camera


def _scales(
    frames: Sequence[MapFrame], matches: PairMatches, before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[int, float]]:
    """Distance in rows, and logarithm of the scale of the second image to the first, of pairs of two groups."""
    for i in before:
        for j in after:
            pairs = matches.get((i, j))
            if i < j and pairs is not None and len(pairs) >= _LEAST_MATCHES:
                one, other = frames[i].features.keypoints[pairs[:, 0]], frames[j].features.keypoints[pairs[:, 1]]
                yield j - i, math.log(_size(other) / _size(one))


def _size(keypoints: NDArray[np.float32]) -> float:
    """Median distance from their middle of keypoints (N, 2), a pixel at least: wrong matches hardly change it."""
    return max(1.0, float(np.median(np.linalg.norm(keypoints - np.median(keypoints, axis=0), axis=1))))
