"""The result of a build: its main figures, and advice when they are poor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pycolmap

from visloc_ros.core.manifest import Manifest
from visloc_ros.mapping.camera_knowledge import CameraKnowledge

_MIN_REGISTERED_SHARE = 0.9
_MIN_TRACK_LENGTH = 3.0
_MAX_REPROJECTION_ERROR_PX = 2.0
_MIN_OBSERVATIONS_PER_IMAGE = 60.0
_MOST_NAMES = 10
_MOST_CAMERAS = 3


@dataclass(frozen=True)
class ImageCount:
    """Images of one source (or of the map that was extended): chosen, and registered in the map."""

    source: str
    selected: int
    registered: int


@dataclass(frozen=True)
class MapPart:
    """A map of its own of images that could not be joined with the largest one: their number, the first and the last.

    ``shared`` counts those that are in the largest one, too; ``reason`` is why the two are not one map.
    """

    name: str
    images: int
    first: str
    last: str
    shared: int = 0
    reason: str = ""


@dataclass(frozen=True)
class MapSummary:
    """Figures of a map: images chosen and registered, points, track length, error, time by stage, advice.

    ``parts`` are maps of their own of images that could not be joined with the map's, and ``left_out`` names the images
    that found a place in none. ``kilobytes_per_image`` counts what
    localization needs: neither thumbnails nor the map card. ``cameras`` describes the sources of the images' cameras.
    ``remark`` says what was unusual in how the images were mapped.
    """

    name: str
    selected_images: int
    registered_images: int
    points: int
    observations: int
    mean_track_length: float
    reprojection_error_px: float
    metric: bool
    gravity_aligned: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    by_source: tuple[ImageCount, ...] = ()
    left_out: tuple[str, ...] = ()
    kilobytes_per_image: float = 0.0
    cameras: tuple[str, ...] = ()
    parts: tuple[MapPart, ...] = ()
    remark: str = ""

    @property
    def outside(self) -> int:
        """How many of the chosen images are neither in the map nor in its parts."""
        return self.selected_images - self.registered_images - sum(part.images - part.shared for part in self.parts)

    @property
    def share_outside(self) -> float:
        """Share of the chosen images that are not in the map itself, be it in its parts or nowhere."""
        return 1.0 - self.registered_images / max(self.selected_images, 1)

    @property
    def observations_per_image(self) -> float:
        """Points that an image sees, on average."""
        return self.observations / max(self.registered_images, 1)

    def __str__(self) -> str:
        scale = "metric" if self.metric else "scale not known"
        up = "z is up" if self.gravity_aligned else "up not known"
        times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())
        lines = [
            f"map '{self.name}': {self.registered_images} of {self.selected_images} images registered, {scale}, {up}",
            *(self._lines_by_source() if len(self.by_source) > 1 else []),
            *self._lines_by_part(),
            f"  {self.points} points, each seen by {self.mean_track_length:.1f} images on average; an image sees "
            f"{self.observations_per_image:.0f}; reprojection error {self.reprojection_error_px:.2f} px; "
            f"{self.kilobytes_per_image:.0f} kB an image",
            *self._lines_by_camera(),
            *([f"  {times}"] if times else []),
            *(f"  advice: {line}" for line in self.advice),
        ]
        return "\n".join(lines)

    def _lines_by_camera(self) -> list[str]:
        more = len(self.cameras) - _MOST_CAMERAS
        return [f"  {camera}" for camera in self.cameras[:_MOST_CAMERAS]] + ([f"  and {more} more"] if more > 0 else [])

    def _lines_by_part(self) -> list[str]:
        lines = [
            f"  '{part.name}', a map of its own beside it: {part.images} images"
            f" ({part.images / self.selected_images:.0%} of all), '{part.first}' to '{part.last}'"
            + (f"; {part.shared} are in both" if part.shared else "")
            + (f"; not merged: {part.reason}" if part.reason else "")
            for part in self.parts
        ]
        if not lines:
            return []
        outside = f", {self.outside} images in no map" if self.outside else ""
        return [*lines, f"  outside '{self.name}': {self.share_outside:.0%} of the images{outside}"]

    def _lines_by_source(self) -> list[str]:
        lines = [f"  '{count.source}': {count.registered} of {count.selected} images" for count in self.by_source]
        if self.left_out:
            more = len(self.left_out) - _MOST_NAMES
            named = ", ".join(self.left_out[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"  left out: {named}")
        return lines


def summarize(
    manifest: Manifest,
    counts: Sequence[ImageCount],
    reconstruction: pycolmap.Reconstruction,
    stage_ms: Mapping[str, float],
    left_out: Sequence[str] = (),
    cameras: Sequence[CameraKnowledge] = (),
    parts: Sequence[MapPart] = (),
    remark: str = "",
) -> MapSummary:
    """Take the figures of a finished map from its manifest and reconstruction, and from the counts of its sources."""
    summary = MapSummary(
        manifest.name,
        selected_images=sum(count.selected for count in counts),
        registered_images=manifest.counts["images"],
        points=manifest.counts["points"],
        observations=manifest.counts["observations"],
        mean_track_length=float(reconstruction.compute_mean_track_length()),
        reprojection_error_px=manifest.reprojection_error_px,
        metric=manifest.metric,
        gravity_aligned=manifest.gravity_aligned,
        seconds={stage: milliseconds / 1e3 for stage, milliseconds in stage_ms.items()},
        by_source=tuple(counts),
        left_out=tuple(left_out),
        parts=tuple(parts),
        remark=remark,
        cameras=tuple(map(str, cameras)),
        kilobytes_per_image=sum(file.size for file in manifest.files.values()) / 1e3 / manifest.counts["images"],
    )
    return replace(summary, advice=advise(summary))


def advise(summary: MapSummary) -> tuple[str, ...]:
    """Advice for a poor map; none where it is good."""
    registered, selected = summary.registered_images, summary.selected_images
    lines = [
        f"no image of '{count.source}' found a place beside the others: film a passage that shows what both of them "
        "show, or make a separate map from it"
        for count in summary.by_source
        if count.registered == 0 and registered > 0 and not summary.parts
    ]
    if summary.parts:
        named = " and ".join(f"'{part.name}' ({part.images} images)" for part in summary.parts)
        lines.append(
            f"the images show places that nothing connects: beside this map of {registered} images, {named} can be "
            "opened as a map. For one map of all, film a passage that shows what both show, and build again"
        )
    if summary.remark:
        lines.append(f"{summary.remark}. Film with more overlap where the images hang together badly")
    if summary.outside > (1.0 - _MIN_REGISTERED_SHARE) * selected:
        lines.append(
            f"only {selected - summary.outside} of {selected} images were registered: film slower and with more "
            "overlap, or raise selection.rate_hz, pairs.window and pairs.retrieval"
        )
    if summary.mean_track_length < _MIN_TRACK_LENGTH:
        lines.append(
            f"points are seen in only {summary.mean_track_length:.1f} images on average: raise pairs.window, or film "
            "the same things from more places"
        )
    if summary.observations_per_image < _MIN_OBSERVATIONS_PER_IMAGE:
        lines.append(
            f"an image sees only {summary.observations_per_image:.0f} points on average: keep more texture in view, "
            "more light, or raise features.max_keypoints"
        )
    if summary.reprojection_error_px > _MAX_REPROJECTION_ERROR_PX:
        lines.append(
            f"points reproject {summary.reprojection_error_px:.1f} px off: check the camera calibration and, if any, "
            "the reference poses and their stamps"
        )
    if not summary.metric:
        lines.append(
            "the map's scale is not metres: give reference poses, a known distance (frame.scale_distance), the wheel "
            "odometry of a bag, or photos with good GPS positions"
        )
    return tuple(lines)
