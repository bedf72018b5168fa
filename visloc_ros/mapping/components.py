"""Components of structure from motion that share images become one model: placed, joined, and adjusted together.

Structure from motion may end with several models, each in a frame of its own, of which some have images in common.
Where these agree on the similarity between two models, one is moved into the frame of the other, points that share an
observation become one, and a bundle adjustment takes out the seam. What does not agree stays apart, with the reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.mappers import adjustment_options
from visloc_ros.mapping.merging.shared_views import MIN_IMAGES, Agreement, SharedView, agree
from visloc_ros.mapping.sfm_database import SfmImage, add_views, registered_poses

_log = logging.getLogger(__name__)

_MIN_FITTING = 0.5  # of the keypoints with a point in both models, once these are adjusted together

_Observation = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Component:
    """A model, why it could not be merged with the largest one (empty for that itself), and how it came about.

    ``remark`` says what was unusual in that.
    """

    model: pycolmap.Reconstruction
    reason: str = ""
    remark: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Its images and points."""
        return self.model.num_reg_images(), self.model.num_points3D()


def merge_components(
    models: Sequence[pycolmap.Reconstruction], views: Sequence[SfmImage], config: ReconstructionConfig
) -> list[Component]:
    """Merge models of these views that share images; gives the largest, then those that could not be merged with it."""
    rest = sorted(map(Component, models), key=lambda one: one.size, reverse=True)
    merged: list[Component] = []
    while rest:
        largest, *rest = _grow(rest[0], rest[1:], views, config)
        merged.append(largest)
    ordered = sorted(merged, key=lambda one: one.size, reverse=True)
    if ordered and ordered[0].reason:  # smaller ones became the largest
        return merge_components([one.model for one in ordered], views, config)
    return ordered


def without_covered(models: Iterable[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """The models, the largest first, that have images which no larger one has."""
    kept, names = [], set[str]()
    for one in sorted(map(Component, models), key=lambda one: one.size, reverse=True):
        if not registered_poses(one.model).keys() <= names:
            kept.append(one.model)
            names |= registered_poses(one.model).keys()
    return kept


def place_component(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction) -> Agreement:
    """The similarity ``a_from_b`` by the images of one name in both, whose keypoints have the same rows in both.

    Raises MapError where these are too few or contradict each other.
    """
    names = _shared_names(a, b)
    views = [view for name in names if (view := _shared_view(a, b, name)) is not None]
    if len(views) < MIN_IMAGES:
        raise MapError(
            f"{len(names)} images are in both models, {len(views)} of them with points of both, where merging needs "
            f"{MIN_IMAGES}"
        )
    return agree("the larger model", "the smaller one", views)


def join_components(
    placed: Sequence[tuple[pycolmap.Reconstruction, Sim3]], views: Sequence[SfmImage]
) -> pycolmap.Reconstruction:
    """One model of several with their similarities ``map_from_model``; where two have an image or camera, the first's.

    Points that share an observation become one. It has all of the views, numbered in their order, and those registered
    that one of the models has.
    """
    poses: dict[str, SE3] = {}
    for model, map_from_model in placed:
        found = registered_poses(model).items()
        poses = {name: map_from_model.apply_to_pose(pose) for name, pose in found} | poses
    joined = pycolmap.Reconstruction()
    add_views(joined, views, [poses.get(view.name) for view in views])
    ids = {image.name: image_id for image_id, image in joined.images.items()}
    for model, _ in reversed(placed):
        _take_cameras(joined, model, ids)
    for model, map_from_model in placed:
        _add_points(joined, model, map_from_model, ids)
    return joined


def adjust_joined(joined: pycolmap.Reconstruction, views: Sequence[SfmImage], config: ReconstructionConfig) -> None:
    """Adjust a joined model as a whole, in place, and drop the observations that do not fit.

    Cameras that are not calibrated are refined.
    """
    calibrated = {view.name for view in views if view.camera.calibrated}
    images = (joined.images[image_id] for image_id in joined.reg_image_ids())
    problem = whole_problem(joined, {image.camera_id for image in images if image.name in calibrated})
    pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, joined).solve()
    observations = pycolmap.ObservationManager(joined)
    observations.filter_all_points3D(config.max_reprojection_error_px, config.min_triangulation_angle_deg)


def _grow(
    whole: Component, others: Sequence[Component], views: Sequence[SfmImage], config: ReconstructionConfig
) -> list[Component]:
    """A component with all others that can be merged with it, then those that cannot."""
    rest = []
    for other in others:
        try:
            model = _merge(whole.model, other.model, views, config)
        except MapError as error:
            rest.append(replace(other, reason=other.reason or str(error)))
            continue
        _log.info("models of %d and %d images are merged by those in both", whole.size[0], other.size[0])
        # What has nothing in common with the model may have with the larger one.
        return _grow(replace(whole, model=model), [one for one in others if one is not other], views, config)
    return [whole, *rest]


def _merge(
    a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, views: Sequence[SfmImage], config: ReconstructionConfig
) -> pycolmap.Reconstruction:
    """Both models as one. Raises MapError where they have too little in common, or contradict each other."""
    joined = join_components([(a, Sim3.identity()), (b, place_component(a, b).a_from_b)], views)
    adjust_joined(joined, views, config)
    shared = {name: _shared_rows(a, b, name) for name in _shared_names(a, b)}
    fitting = [_image(joined, name).point2D(row).has_point3D() for name, rows in shared.items() for row in rows]
    if np.mean(fitting) < _MIN_FITTING:
        raise MapError(
            f"adjusted together, {1.0 - np.mean(fitting):.0%} of the keypoints that both models share contradict one "
            "of them: one is bent, or two places look alike"
        )
    return joined


def _shared_names(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction) -> list[str]:
    in_a = registered_poses(a)
    return [name for name in registered_poses(b) if name in in_a]


def _shared_view(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, name: str) -> SharedView | None:
    rows = _shared_rows(a, b, name)
    in_a, in_b = (_points(model, name, rows) for model in (a, b))
    a_from_camera, b_from_camera = (SE3.from_rigid3d(_image(model, name).cam_from_world()).inverse for model in (a, b))
    return SharedView.of(a_from_camera, b_from_camera, in_a, in_b)


def _shared_rows(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, name: str) -> list[int]:
    """Rows of an image's keypoints that have a point in both models."""
    in_a, in_b = (set(_image(model, name).get_observation_point2D_idxs()) for model in (a, b))
    return sorted(in_a & in_b)


def _points(model: pycolmap.Reconstruction, name: str, rows: Sequence[int]) -> Array:
    image = _image(model, name)
    return np.array([model.points3D[image.point2D(row).point3D_id].xyz for row in rows]).reshape(-1, 3)


def _image(model: pycolmap.Reconstruction, name: str) -> pycolmap.Image:
    image = model.find_image_with_name(name)
    assert image is not None, name  # names are those of registered images
    return image


def _take_cameras(joined: pycolmap.Reconstruction, model: pycolmap.Reconstruction, ids: Mapping[str, int]) -> None:
    for image_id in model.reg_image_ids():
        image = model.images[image_id]
        camera_id = joined.images[ids[image.name]].camera_id
        joined.cameras[camera_id].params = model.cameras[image.camera_id].params.tolist()


def _add_points(
    joined: pycolmap.Reconstruction, model: pycolmap.Reconstruction, map_from_model: Sim3, ids: Mapping[str, int]
) -> None:
    """Add a model's points, and to points that are there those observations of theirs that have none."""
    names = {image_id: ids[model.images[image_id].name] for image_id in model.reg_image_ids()}
    for point_id in sorted(model.points3D):
        point = model.points3D[point_id]
        seen = [(names[one.image_id], one.point2D_idx) for one in point.track.elements]
        free = [one for one in seen if not _point_of(joined, one)]
        votes = Counter(known for one in seen if (known := _point_of(joined, one)))
        if votes:
            _observe(joined, votes.most_common(1)[0][0], free)
        elif len(free) > 1:
            track = pycolmap.Track()
            for one in free:
                track.add_element(*one)
            joined.add_point3D((map_from_model @ point.xyz[None])[0], track, point.color)


def _point_of(joined: pycolmap.Reconstruction, observation: _Observation) -> int:
    """The point of an observation, 0 where it has none; COLMAP numbers points from 1."""
    keypoint = joined.images[observation[0]].point2D(observation[1])
    return int(keypoint.point3D_id) if keypoint.has_point3D() else 0


def _observe(joined: pycolmap.Reconstruction, point_id: int, observations: Sequence[_Observation]) -> None:
    """Add observations to a point; an image sees it once."""
    seen_by = {one.image_id for one in joined.points3D[point_id].track.elements}
    for image_id, row in observations:
        if image_id not in seen_by:
            joined.add_observation(point_id, pycolmap.TrackElement(image_id, row))
            seen_by.add(image_id)
