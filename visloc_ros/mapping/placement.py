"""Moves a reconstruction into the frame of its map, and reports what that rests on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.geo_reference import AXES_SIGMA_DEG
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg
from visloc_ros.core.gravity import GRAVITY, MIN_BLOCKS, find_gravity, measure_blocks
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.mapping.config import SCALE_NAMES, FrameConfig, scale_source
from visloc_ros.mapping.geo import GeoFit, fit_to_positions
from visloc_ros.mapping.gravity import Up, find_up, level
from visloc_ros.mapping.map_sources import SourceRecording, pose_at
from visloc_ros.mapping.scale import align_to_references, scale_to_distance, transform
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.sources.measurements import Accelerations, WheelOdometry

_log = logging.getLogger(__name__)

_MAX_SCALE_ERROR = 0.05
_MOST_OFF_LEVEL_DEG = 45.0  # on slopes or held askew cameras are less off; with swapped axes 90 or 180


@dataclass(frozen=True)
class Placement:
    """Whether a map unit is a metre and +z is up, how that is known, and how well (None: not estimated).

    ``geo_origin`` is empty, or latitude, longitude (WGS 84, degrees) and, if known, altitude (metres) of an
    origin with axes east, north, up.
    """

    metric: bool
    scale_source: str
    gravity_aligned: bool
    gravity_source: str
    scale_error: float | None = None
    gravity_error_deg: float | None = None
    geo_origin: Mapping[str, float] = field(default_factory=dict)


def place(
    reconstruction: pycolmap.Reconstruction,
    references: Mapping[str, SE3] | None,
    config: FrameConfig,
    *,
    at_references: bool,
    recordings: Sequence[SourceRecording] = (),
) -> Placement:
    """Scale and turn a reconstruction in place: to reference poses where given, else by other measurements.

    ``at_references``: it was triangulated at the reference poses and is in their frame already. A source that
    ``config`` requests must suffice; one that was merely found is left out, with a warning, where it does not. Raises
    MapError when the reference poses, the images of the known distance or a requested source do not fit.
    """
    if references is None:
        return _Placer(reconstruction, config, recordings).place()
    if not at_references:
        transform(reconstruction, align_to_references(registered_poses(reconstruction), references))
    is_level = config.gravity == "reference"
    if is_level:
        _check_level(find_up(list(registered_poses(reconstruction).values())))
    return Placement(True, SCALE_NAMES["reference"], is_level, "reference poses" if is_level else "none")


def _check_level(up: Up | None) -> None:
    """Hold z of reference poses against the up that the images show, or that a camera which did not turn suggests."""
    if up is None or (off_deg := np.degrees(np.arccos(np.clip(up.direction[2], -1.0, 1.0)))) <= _MOST_OFF_LEVEL_DEG:
        return
    off = (
        f"+z of the reference poses is {off_deg:.0f} deg from what is up in the images: their axes are not those of a "
        "map with z up"
    )
    if up.reliable and off_deg < 180.0 - _MOST_OFF_LEVEL_DEG:
        raise MapError(f"{off}. Turn the poses, or build without --gravity reference")
    _log.warning("%s, unless the camera was mounted upside down or looked straight down", off)


class _Placer:
    """Places one reconstruction by the measurements beside its images."""

    def __init__(
        self, reconstruction: pycolmap.Reconstruction, config: FrameConfig, recordings: Sequence[SourceRecording]
    ) -> None:
        self._reconstruction = reconstruction
        self._config = config
        self._recordings = recordings
        self._poses = registered_poses(reconstruction)
        self._scale_source = scale_source(config, [recording.measurements for recording in recordings])

    def place(self) -> Placement:
        """Turn and scale the reconstruction, and report what that rests on."""
        up = self._find_up()
        geo = self._fit_positions(up) if self._scale_source == "gps" else None
        if geo is not None and self._has_good_axes(geo):
            return self._place_on_earth(geo, up)
        is_level = up is not None and self._turn_up(up)
        scale = self._find_scale(geo)
        if scale is not None:
            transform(self._reconstruction, Sim3(scale.scale, np.eye(3), np.zeros(3)))
        return Placement(
            metric=scale is not None,
            scale_source=SCALE_NAMES[self._scale_source] if scale else "none",
            gravity_aligned=is_level,
            gravity_source=up.source if up and is_level else "none",
            scale_error=scale.error if scale else None,
            gravity_error_deg=up.error_deg if up and is_level else None,
        )

    def _find_up(self) -> Up | None:
        if self._config.gravity in ("none", "gps"):
            return None
        if self._config.gravity != "camera":
            up = self._up_from_imu()
            if up is not None:
                return up
        up = find_up(list(self._poses.values()))
        if up is None:
            _log.warning("the images do not agree on what is down: the map's z axis is not turned up")
        return up

    def _up_from_imu(self) -> Up | None:
        paths = [
            (recording.path(self._poses), recording.measurements.accelerations)
            for recording in self._recordings
            if recording.measurements.accelerations is not None
        ]
        if not paths:
            return None
        try:
            return up_from_accelerations(paths, self._config.max_reference_gap_s)
        except MapError as error:
            self._leave_out("gravity", "imu", error)
            return None

    def _fit_positions(self, up: Up | None) -> GeoFit | None:
        positions = {
            name: recording.measurements.geo_positions[stamp_ns]
            for recording in self._recordings
            for name, stamp_ns in recording.stamps_ns.items()
            if stamp_ns in recording.measurements.geo_positions
        }
        centres = {name: pose.translation for name, pose in self._poses.items()}
        try:
            fit = fit_to_positions(centres, positions, up, self._config.gps_sigma)
            _check_scale_error(fit.scale_error, "GPS positions")
        except MapError as error:
            self._leave_out("scale", "gps", error)
            return None
        _log.info("%d GPS positions give the scale to %.1f %%", fit.num_positions, 100 * fit.scale_error)
        if fit.outliers:
            worst = sorted(fit.outliers, key=lambda name: -fit.outliers[name])
            _log.warning(
                "%d of %d GPS positions contradict the map, that of %s by %.0f m: they are wrong, or it is bent there",
                len(worst),
                fit.num_positions,
                worst[0],
                fit.outliers[worst[0]],
            )
        return fit

    def _has_good_axes(self, geo: GeoFit) -> bool:
        if self._config.gravity == "none":
            return False
        if geo.axes_error_deg <= AXES_SIGMA_DEG:
            return True
        error = MapError(
            f"the GPS positions determine the axes only to {geo.axes_error_deg:.0f} deg: the path is too short or too "
            "straight for their errors"
        )
        self._leave_out("gravity", "gps", error)
        return False

    def _place_on_earth(self, geo: GeoFit, up: Up | None) -> Placement:
        transform(self._reconstruction, geo.map_from_sfm)
        by_positions = up is None or geo.tilt_error_deg <= up.error_deg
        origin = {key: getattr(geo.origin, key) for key in ("latitude", "longitude", "altitude")}
        return Placement(
            metric=True,
            scale_source=SCALE_NAMES["gps"],
            gravity_aligned=True,
            gravity_source="GPS" if up is None or by_positions else up.source,
            scale_error=geo.scale_error,
            gravity_error_deg=geo.tilt_error_deg if up is None or by_positions else up.error_deg,
            geo_origin={key: value for key, value in origin.items() if value is not None},
        )

    def _turn_up(self, up: Up) -> bool:
        if not up.reliable:
            unknown = "not known, as the camera did not turn: the map's z axis points up only if it was held level"
            known = f"known only to {up.error_deg:.0f} deg: the map's z axis points up only roughly"
            _log.warning("what is up is %s", known if np.isfinite(up.error_deg) else unknown)
        transform(self._reconstruction, level(self._poses, up.direction))
        return up.reliable

    def _find_scale(self, geo: GeoFit | None) -> ScaleEstimate | None:
        if geo is not None:
            return ScaleEstimate(geo.map_from_sfm.scale, geo.scale_error)
        if self._scale_source == "odometry":
            return self._scale_from_odometry()
        if self._scale_source == "distance":
            config = self._config
            similarity = scale_to_distance(self._poses, config.scale_distance, config.scale_from, config.scale_to)
            return ScaleEstimate(similarity.scale, None)
        return None

    def _scale_from_odometry(self) -> ScaleEstimate | None:
        paths = [
            (recording.path(self._poses), recording.measurements.odometry)
            for recording in self._recordings
            if recording.measurements.odometry is not None
        ]
        try:
            scale = scale_from_odometry(paths, self._config.max_reference_gap_s)
            _check_scale_error(scale.error, "wheel odometry and images")
        except MapError as error:
            self._leave_out("scale", "odometry", error)
            return None
        return scale

    def _leave_out(self, option: str, source: str, error: MapError) -> None:
        """Go on without a source that was not requested; a requested one must suffice."""
        if getattr(self._config, option) == source:
            raise error
        _log.warning("%s not taken from %s: %s", option, source, error)


def _check_scale_error(error: float | None, source: str) -> None:
    if error is not None and error > _MAX_SCALE_ERROR:
        raise MapError(
            f"{source} give the scale only to {100 * error:.0f} %, {100 * _MAX_SCALE_ERROR:.0f} % are needed: the "
            "path is too short for their errors"
        )


def up_from_accelerations(paths: Sequence[tuple[Trajectory, Accelerations]], max_gap_s: float) -> Up:
    """The direction of up, by accelerations along the paths ``sfm_from_camera`` of one or several recordings.

    Samples between images more than ``max_gap_s`` apart are left out; blocks with knocks count little. Raises
    MapError where the samples are too few, or do not show a gravity of 9.8 m/s^2.
    """
    blocks = [
        block
        for path, samples in paths
        for run in _runs(path, max_gap_s)
        for block in measure_blocks(run, samples.stamps_ns, samples.in_camera)
    ]
    if len(blocks) < MIN_BLOCKS:
        raise MapError(
            f"the IMU covers {len(blocks)} half seconds between registered images, {MIN_BLOCKS} are needed: check "
            "that its stamps are of the same clock as the images'"
        )
    gravity = find_gravity(blocks)
    if not gravity.is_plausible:
        raise MapError(
            f"the IMU's accelerations show a gravity of {gravity.magnitude:.2f} m/s^2 instead of {GRAVITY}: they must "
            "be in m/s^2 with gravity in them, and the rotation between IMU and camera and both clocks must be right"
        )
    return Up(gravity.up, gravity.error_deg, "imu")


def _runs(path: Trajectory, max_gap_s: float) -> Iterator[Trajectory]:
    """Parts of a path without gaps, of two images and more."""
    breaks = np.flatnonzero(np.diff(path.stamps_ns) > max_gap_s * NANOSECONDS) + 1
    for rows in np.split(np.arange(len(path)), breaks):
        if len(rows) > 1:
            yield Trajectory(path.stamps_ns[rows], path.poses[rows[0] : rows[-1] + 1])


_STEP_M = 0.5
_MIN_STEPS = 5
_MAX_TURN_DEG = 15.0
_MAD_TO_SIGMA = 1.4826
_MEDIAN_INEFFICIENCY = 1.2533  # standard deviation of a median in those of a mean, for normal deviates


class ScaleEstimate(NamedTuple):
    """Metres in one unit of the reconstruction, and their relative standard deviation (None: not known)."""

    scale: float
    error: float | None


def scale_from_odometry(paths: Sequence[tuple[Trajectory, WheelOdometry]], max_gap_s: float) -> ScaleEstimate:
    """Scale that makes steps of the paths ``sfm_from_camera`` as long as those of the odometry.

    A path is cut where the odometry has moved half a metre, so that its drift does not add up; the median over the
    ratios is robust against slipping wheels. The error is by the ratios' scatter, which does not show a wrong wheel
    radius. Where the camera's place on the base is unknown, steps that turn are left out (a camera ahead of the
    axle moves sideways in a turn). Raises MapError where less than five steps are left.
    """
    ratios = np.array([ratio for path, odometry in paths for ratio in _step_ratios(path, odometry, max_gap_s)])
    if len(ratios) < _MIN_STEPS:
        straight = "" if all(odometry.is_of_camera for _, odometry in paths) else " without turning"
        raise MapError(
            f"the odometry measures {len(ratios)} steps of {_STEP_M:g} m between registered images{straight}, "
            f"{_MIN_STEPS} are needed: drive further, and check that both have the same clock"
        )
    logarithms = np.log(ratios)
    centre = float(np.median(logarithms))
    deviation = _MAD_TO_SIGMA * float(np.median(np.abs(logarithms - centre)))
    return ScaleEstimate(float(np.exp(centre)), _MEDIAN_INEFFICIENCY * deviation / np.sqrt(len(ratios)))


def _step_ratios(path: Trajectory, odometry: WheelOdometry, max_gap_s: float) -> Iterator[float]:
    """Length by odometry over length by images, of consecutive steps of half a metre."""
    known = [
        (sfm_from_camera, odom_from_body)
        for stamp_ns, sfm_from_camera in zip(path.stamps_ns, path.poses, strict=True)
        if (odom_from_body := pose_at(odometry.poses, int(stamp_ns), max_gap_s)) is not None
    ]
    begin = None
    for sfm, odom in known:
        if begin is None:
            begin = (sfm, odom)
            continue
        moved = float(np.linalg.norm(odom.translation - begin[1].translation))
        if moved < _STEP_M:
            continue
        seen = float(np.linalg.norm(sfm.translation - begin[0].translation))
        turned = rotation_angle_deg(begin[0].rotation, sfm.rotation)
        if seen > 0 and (odometry.is_of_camera or turned <= _MAX_TURN_DEG):
            yield moved / seen
        begin = (sfm, odom)
