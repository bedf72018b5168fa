"""Puts a reconstruction into the frame its map will have, and says truthfully what that rests on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.mapping.frame_sources import SCALE_NAMES, scale_source
from visloc_ros.mapping.geo import GeoFit, fit_to_positions
from visloc_ros.mapping.gravity import RELIABLE_ERROR_DEG, Up, find_up, level
from visloc_ros.mapping.inertial import up_from_accelerations
from visloc_ros.mapping.odometry_scale import ScaleEstimate, scale_from_odometry
from visloc_ros.mapping.reconstruction import registered_poses
from visloc_ros.mapping.recording import SourceRecording
from visloc_ros.mapping.scale import align_to_references, scale_to_distance, transform

_log = logging.getLogger(__name__)

_MAX_SCALE_ERROR = 0.05


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
    """Scale and turn a reconstruction in place: to reference poses where given, else by what was measured beside it.

    ``at_references`` says that it was triangulated at the reference poses and is in their frame already. A source
    that ``config`` asks for must do; one that was merely found is left out, with a warning, where it does not.
    Raises MapError when the reference poses, the images of the known distance or a source asked for do not fit.
    """
    if references is None:
        return _Placer(reconstruction, config, recordings).place()
    if not at_references:
        transform(reconstruction, align_to_references(registered_poses(reconstruction), references))
    is_level = config.gravity == "reference"
    return Placement(True, SCALE_NAMES["reference"], is_level, "reference poses" if is_level else "none")


class _Placer:
    """Places one reconstruction by what was measured beside its images."""

    def __init__(
        self, reconstruction: pycolmap.Reconstruction, config: FrameConfig, recordings: Sequence[SourceRecording]
    ) -> None:
        self._reconstruction = reconstruction
        self._config = config
        self._recordings = recordings
        self._poses = registered_poses(reconstruction)
        self._scale_source = scale_source(config, [recording.measurements for recording in recordings])

    def place(self) -> Placement:
        """Turn and scale the reconstruction, and say what that rests on."""
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
        _log.info("%d GPS positions, %d of them wrong, give the scale to %.1f %%", *_figures(fit))
        return fit

    def _has_good_axes(self, geo: GeoFit) -> bool:
        if self._config.gravity == "none":
            return False
        if geo.axes_error_deg <= RELIABLE_ERROR_DEG:
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
            _log.warning("what is up is known only to %.0f deg: the map's z axis points up only roughly", up.error_deg)
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
        """Go on without a source that was not asked for; one that was must do."""
        if getattr(self._config, option) == source:
            raise error
        _log.warning("%s not taken from %s: %s", option, source, error)


def _check_scale_error(error: float | None, source: str) -> None:
    if error is not None and error > _MAX_SCALE_ERROR:
        raise MapError(
            f"{source} give the scale only to {100 * error:.0f} %, {100 * _MAX_SCALE_ERROR:.0f} % are needed: the "
            "path is too short for their errors"
        )


def _figures(fit: GeoFit) -> tuple[int, int, float]:
    return fit.num_positions, fit.num_outliers, 100 * fit.scale_error
