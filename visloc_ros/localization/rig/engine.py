"""The rig engine: from the images of several cameras on one body, the body's pose or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.plausibility import shared_covariance_fault
from visloc_ros.core.rig import Rig
from visloc_ros.core.types import AnchorPose, MapIdentity, Reason, Rejection
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.evidence import sees_elsewhere
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.consensus import consensus, disagreement, is_kept, is_undecided, log_odds
from visloc_ros.localization.rig.joint_search import JointSearch
from visloc_ros.localization.rig.places import PlaceCheck
from visloc_ros.localization.rig.sightings import SightingsByCamera
from visloc_ros.localization.rig.solving import RigSolution, solve_rig_pose
from visloc_ros.localization.rig.standing import StandingCameras
from visloc_ros.localization.rig.types import RigImage, RigPose
from visloc_ros.localization.rig.uncertainty import rig_covariance
from visloc_ros.localization.rig.view import RigView

AT_ONCE_NS = 5_000_000
"""Images that are no farther apart are of one time: a walking person moves by as many millimetres."""
_AS_LIKELY_AS_NOT = 0.5


class RigEngine:
    """Finds the images of a rig in a map, by the engine that finds single ones.

    Each camera is searched as a single one is; once one is found, the others are searched around its pose. The cameras
    that are found, and what the others see at their pose, give one joint pose. Where no camera alone suffices, the
    matches of all may do so together. A camera that stands still while another one moves is left out, and one that is
    found elsewhere than predicted while another one is found there. Raises MapError for a map that is not in metres, as
    the places of cameras are.
    """

    def __init__(self, engine: AnchorEngine, rig: Rig) -> None:
        check_is_metric(engine.map)
        self.engine, self.rig = engine, rig
        self.places = PlaceCheck(rig, engine.config.pose)
        """Whether the cameras are where the rig says, by all images so far."""
        self.sightings = SightingsByCamera(rig.names)
        """How often each camera was found."""
        self._standing, self._together = StandingCameras(), JointSearch(engine)

    @property
    def map_identity(self) -> MapIdentity:
        """The map that is searched."""
        return self.engine.map_identity

    def localize(self, stamp_ns: int, images: Mapping[str, RigImage], prior: SE3 | None = None) -> RigPose | Rejection:
        """Find ``map_from_rig`` at a stamp by images of some cameras, searched in their order.

        ``prior`` is a predicted ``map_from_rig``. Images of another time whose motion since is not known are left out.
        Raises CalibrationError for a camera that the rig does not have, whose intrinsics are not known, or whose image
        has another size than these.
        """
        unsure = [name for name, image in images.items() if image.has_fault]
        left_out = {name: Rejection(images[name].frame.stamp_ns, Reason.UNCERTAIN) for name in unsure}
        images = {name: image for name, image in images.items() if name not in unsure}
        late = [name for name, image in images.items() if _is_late(image, stamp_ns)]
        left_out |= {name: Rejection(images[name].frame.stamp_ns, Reason.STALE) for name in late}
        searched = self._search({name: image for name, image in images.items() if name not in late}, prior)
        if not searched:
            return Rejection(stamp_ns, Reason.STALE, {"images": len(images)})
        found = [camera for camera in searched if isinstance(camera.answer, AnchorPose)]
        # A prior from a camera that stands still agrees with that one.
        wrong = self._standing.contradicting(found, self.engine.config.pose.max_error_px) or _astray(found, prior)
        self.places.add([camera for camera in found if camera.name not in wrong])
        answer = self._judge(stamp_ns, searched, found, self.places.unusable | wrong)
        agreeing = answer.by_camera if isinstance(answer, RigPose) else ()
        self.sightings.add([camera.name for camera in searched], [camera.name for camera in found], agreeing)
        return replace(answer, left_out={**left_out, **answer.left_out}) if isinstance(answer, RigPose) else answer

    def _judge(
        self,
        stamp_ns: int,
        searched: Sequence[CameraSearch],
        found: Sequence[CameraSearch],
        unusable: frozenset[str],
    ) -> RigPose | Rejection:
        """The pose by the cameras that are where the rig says, and show what is there."""
        cameras = [camera for camera in searched if camera.name not in unusable]
        if not cameras:
            return Rejection(stamp_ns, Reason.RIG_MISMATCH, _inliers(searched), _stage_ms(searched))
        usable = [camera for camera in found if camera in cameras]
        answer = self._join(stamp_ns, cameras, usable) if usable else self._find_together(stamp_ns, cameras)
        left_out = {camera.name: _why_left_out(camera) for camera in searched if camera not in cameras}
        return replace(answer, left_out={**left_out, **answer.left_out}) if isinstance(answer, RigPose) else answer

    def _search(self, images: Mapping[str, RigImage], prior: SE3 | None) -> list[CameraSearch]:
        """Search each camera alone, around the prior, or where one before it was found."""
        for name, image in images.items():
            calibration = image.frame.calibration
            if calibration is not None and calibration.is_provisional:
                raise CalibrationError(f"the intrinsics of '{name}' are not known: give the calibration of each camera")
        queries = self.engine.extract_many([image.frame for image in images.values()])
        searched: list[CameraSearch] = []
        expected, is_known = prior, False
        for (name, image), query in zip(images.items(), queries, strict=True):
            place = (image.rig_from_rig_then or SE3.identity()) @ self.rig.rig_from_camera(name)
            around = None if expected is None else expected @ place
            # A pose that is known already is only to be confirmed or contradicted; unless this never succeeds: the
            # place on the rig is then wrong, perhaps, and only a search for itself shows it.
            is_alone = not is_known or self.sightings.by_camera[name].has_never_agreed
            answer = self.engine.solve(replace(query, is_thorough=is_alone), None if is_known and is_alone else around)
            searched.append(CameraSearch(name, query, place, image.motion_covariance, answer))
            if isinstance(answer, AnchorPose) and not is_known:
                expected, is_known = searched[-1].own_map_from_rig, True
        return searched

    def _join(
        self, stamp_ns: int, cameras: Sequence[CameraSearch], found: Sequence[CameraSearch]
    ) -> RigPose | Rejection:
        """The joint pose of the cameras that were found, and of what the others see at it."""
        agreement = consensus(found, self.rig.reference, self.engine.config.pose)
        if agreement is None or is_undecided(agreement[0], found, agreement[1]):
            return Rejection(stamp_ns, Reason.RIG_MISMATCH, _inliers(cameras), _stage_ms(cameras))
        agreeing, solution = agreement
        self._standing.note(agreeing)
        views = [camera.own_view for camera in agreeing]
        weak = [camera for camera in cameras if isinstance(camera.answer, Rejection)]
        confirming = [view for camera in weak if (view := self._confirming_view(camera, solution)) is not None]
        if confirming:
            joint = solve_rig_pose([*views, *confirming], self.engine.config.pose, [solution.map_from_rig])
            if joint is not None and is_kept([*views, *confirming], joint):
                views, solution = [*views, *confirming], joint
        probability = 1.0 / (1.0 + math.exp(-log_odds(agreeing)))
        return self._answer(stamp_ns, cameras, views, solution, probability, disagreement(agreeing, solution))

    def _confirming_view(self, camera: CameraSearch, solution: RigSolution) -> RigView | None:
        """What a camera that was not found itself sees at the pose of others, where that is unlikely to be chance."""
        assert isinstance(camera.answer, Rejection)
        if camera.answer.reason in (Reason.FEW_FEATURES, Reason.INTRINSICS_MISMATCH):
            return None
        expected = camera.map_from_camera(solution.map_from_rig)
        around = self.engine.gather_around(camera.query, expected)
        if around.solution is None or around.support is None:
            return None
        view = camera.inlier_view(around, self.engine.map.points)
        is_likely = around.support.model.not_by_chance(around.support) >= _AS_LIKELY_AS_NOT
        is_there = not sees_elsewhere(expected, view.points, around.solution.map_from_camera)
        return view if is_likely and is_there else None

    def _find_together(self, stamp_ns: int, cameras: Sequence[CameraSearch]) -> RigPose | Rejection:
        """The joint pose of cameras of which none was found alone."""
        found = self._together.find(cameras)
        if isinstance(found, Reason):
            return Rejection(stamp_ns, found, _inliers(cameras), _stage_ms(cameras))
        return self._answer(stamp_ns, cameras, *found, np.zeros((6, 6)))

    def _answer(
        self,
        stamp_ns: int,
        cameras: Sequence[CameraSearch],
        views: Sequence[RigView],
        solution: RigSolution,
        probability: float,
        of_places: Array,
    ) -> RigPose | Rejection:
        """The joint pose; ``of_places`` (6, 6) is what the errors of the cameras' places add to its covariance.

        UNCERTAIN where these errors add up to no covariance.
        """
        by_name = {camera.name: camera for camera in cameras}
        covariance, shared = rig_covariance(solution, views, by_name, self.engine.map_uncertainty)
        covariance, shared = covariance + of_places, shared + of_places
        if shared_covariance_fault(covariance, shared):
            return Rejection(stamp_ns, Reason.UNCERTAIN, _inliers(cameras), _stage_ms(cameras))
        pose = RigPose(stamp_ns, solution.map_from_rig, covariance, shared, probability, {}, {}, _stage_ms(cameras))
        of_cameras = {
            view.name: self._of_camera(pose, by_name[view.name], view, inliers)
            for view, inliers in zip(views, solution.inliers, strict=True)
            if inliers.any()
        }
        left_out = {camera.name: _why_left_out(camera) for camera in cameras if camera.name not in of_cameras}
        return replace(pose, by_camera=of_cameras, left_out=left_out)

    def _of_camera(self, pose: RigPose, camera: CameraSearch, view: RigView, inliers: NDArray[np.bool_]) -> AnchorPose:
        """What one camera sees at a pose of the rig."""
        map_from_camera, covariance, shared = pose.of_camera(self.rig.rig_from_camera(camera.name))
        seen_from = view.seen_from(pose.map_from_rig, self.engine.config.pose)
        errors = np.linalg.norm(view.residuals(seen_from)[inliers], axis=1)
        return AnchorPose(
            pose.stamp_ns,
            map_from_camera,
            covariance,
            int(inliers.sum()),
            len(inliers),
            float(np.median(errors)),
            view.pixels[inliers],
            view.points[inliers],
            stage_ms=camera.query.watch.stage_ms,
            calibration=camera.query.frame.calibration,
            map_covariance=shared,
            probability=pose.probability,
        )


def check_is_metric(place: Map) -> None:
    """Raise MapError for a map that is not in metres, as the places of cameras are."""
    if not place.manifest.metric:
        raise MapError(
            f"the map '{place.name}' is not in metres, as the places of the cameras of a rig are: give it its scale "
            "with 'visloc align-map'"
        )


def _is_late(image: RigImage, stamp_ns: int) -> bool:
    return image.rig_from_rig_then is None and abs(image.frame.stamp_ns - stamp_ns) > AT_ONCE_NS


def _astray(found: Sequence[CameraSearch], prior: SE3 | None) -> frozenset[str]:
    """Names of cameras that see another place than predicted, if others see that one: they contradict the past, too."""
    if prior is None:
        return frozenset()
    elsewhere = {
        camera.name
        for camera in found
        if sees_elsewhere(camera.anchor.map_from_camera, camera.anchor.inlier_points, camera.map_from_camera(prior))
    }
    return frozenset(elsewhere) if len(elsewhere) < len(found) else frozenset()


def _why_left_out(camera: CameraSearch) -> Rejection:
    """Its own reason, or that its own pose contradicts the others."""
    if isinstance(camera.answer, Rejection):
        return camera.answer
    counts = {"inliers": camera.answer.num_inliers}
    return Rejection(camera.answer.stamp_ns, Reason.RIG_MISMATCH, counts, camera.answer.stage_ms)


def _inliers(cameras: Iterable[CameraSearch]) -> dict[str, float]:
    """Inliers of each camera's own pose."""
    answers = {camera.name: camera.answer for camera in cameras}
    return {
        f"inliers of {name}": answer.num_inliers if isinstance(answer, AnchorPose) else answer.counts.get("inliers", 0)
        for name, answer in answers.items()
    }


def _stage_ms(cameras: Iterable[CameraSearch]) -> dict[str, float]:
    """Time of each stage, of all cameras together."""
    total: dict[str, float] = {}
    for camera in cameras:
        for stage, taken in camera.query.watch.stage_ms.items():
            total[stage] = total.get(stage, 0.0) + taken
    return total
