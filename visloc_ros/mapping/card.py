"""The map card ``map.html``: the content, quality and dependencies of a map, in one self-contained file."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.colmap_model import ColmapModel, ModelImage, read_colmap_model
from visloc_ros.core.geometry import Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map_layout import CARD_NAME, THUMBNAIL_FOLDER, own_layout, thumbnail_name
from visloc_ros.localization.coverage import Coverage
from visloc_ros.mapping.coverage import MappedView, map_coverage
from visloc_ros.mapping.coverage_view import draw_coverage
from visloc_ros.mapping.own_error import own_error_in_words
from visloc_ros.mapping.summary import MapSummary
from visloc_ros.mapping.top_view import draw_top_view

_PLACES_SHOWN = 16
_WEAKEST_SHOWN = 8
_LONGEST_TRACK_SHOWN = 12
_ERROR_BINS_PX = np.arange(0.0, 12.5, 0.5)


def write_card(folder: Path, manifest: Manifest, summary: MapSummary) -> None:
    """Write ``map.html`` into a map folder that is otherwise complete."""
    model = read_colmap_model(own_layout(folder).model)
    (folder / CARD_NAME).write_text(render_card(folder, manifest, summary, model), encoding="utf-8")


def render_card(folder: Path, manifest: Manifest, summary: MapSummary, model: ColmapModel) -> str:
    """The card as one self-contained HTML page."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = (files("visloc_ros.mapping") / "templates" / "map.html.j2").read_text(encoding="utf-8")
    unit = "m" if manifest.metric else ""
    poses = [image.map_from_camera for image in model.images]
    coverage, where = image_coverage(model), _where_localized(model, manifest.gravity_aligned)
    top_view = draw_top_view(model.points, poses, gravity_aligned=manifest.gravity_aligned, unit=unit)
    return environment.from_string(template).render(
        manifest=manifest,
        summary=summary,
        tiles=_tiles(summary, where),
        where=Markup(draw_coverage(where, unit)),
        cell=f"{where.cell:g} {unit}".strip(),
        top_view=Markup(top_view),
        coverage=coverage,
        observation_bars=_bars([image.observations for image in coverage], coverage, "points"),
        error_bars=_bars([image.reprojection_error_px for image in coverage], coverage, "px"),
        highest_error=max(image.reprojection_error_px for image in coverage),
        highest_count=max(image.observations for image in coverage),
        track_histogram=_histogram(_track_counts(model), [f"{n}" for n in range(2, _LONGEST_TRACK_SHOWN)] + ["more"]),
        error_histogram=_histogram(*_error_counts(model.point_errors)),
        weakest=[(image, _picture(folder, image.name)) for image in weakest(coverage, _WEAKEST_SHOWN)],
        places=[(image, _picture(folder, image.name)) for image in _evenly(coverage, _PLACES_SHOWN)],
        tracks_by_image=_bars([image.track_length for image in coverage], coverage, "images a point"),
        longest_track=max(image.track_length for image in coverage),
        own_error=own_error_in_words(manifest),
        config=json.dumps(manifest.config, indent=2),
    )


def _where_localized(model: ColmapModel, gravity_aligned: bool) -> Coverage:
    rows = [model.rows_of(image.point_ids) for image in model.images]
    views = [
        MappedView(image.map_from_camera, model.cameras[image.camera_id], seen[seen >= 0])
        for image, seen in zip(model.images, rows, strict=True)
    ]
    return map_coverage(model.points, views, gravity_aligned=gravity_aligned)


def _tiles(summary: MapSummary, where: Coverage) -> list[dict[str, str]]:
    registered = f"of {summary.selected_images} chosen frames"
    values = [
        ("images", f"{summary.registered_images}", registered),
        ("points", f"{summary.points:,}", f"{summary.observations_per_image:.0f} seen by an image"),
        ("track length", f"{summary.mean_track_length:.1f}", "images see a point, on average"),
        ("reprojection error", f"{summary.reprojection_error_px:.2f} px", "mean over all observations"),
        ("can be localized", f"{where.recall:.0%}", "of images near its own, at any heading"),
        ("size", f"{summary.kilobytes_per_image:.0f} kB", "an image, pictures not counted"),
    ]
    return [{"label": label, "value": value, "detail": detail} for label, value, detail in values]


def _bars(values: Sequence[float], coverage: Sequence[ImageCoverage], unit: str) -> list[dict[str, Any]]:
    highest = max([*values, 1e-9])
    width = 1000.0 / max(len(values), 1)
    return [
        {
            "x": round(index * width, 2),
            "width": round(max(width * 0.8, 0.5), 2),
            "height": round(100.0 * value / highest, 2),
            "title": f"{image.name}: {value:.4g} {unit}",
        }
        for index, (value, image) in enumerate(zip(values, coverage, strict=True))
    ]


def _track_counts(model: ColmapModel) -> list[int]:
    lengths = np.clip(model.track_lengths, 2, _LONGEST_TRACK_SHOWN)
    return [int(count) for count in np.bincount(lengths, minlength=_LONGEST_TRACK_SHOWN + 1)[2:]]


def _error_counts(errors: Array) -> tuple[list[int], list[str]]:
    counts, edges = np.histogram(np.clip(errors, 0.0, _ERROR_BINS_PX[-1]), bins=_ERROR_BINS_PX)
    last = int(np.max(np.flatnonzero(counts), initial=7)) + 1
    return [int(count) for count in counts[:last]], [f"{edge:g}" for edge in edges[:last]]


def _histogram(counts: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    highest = max([*counts, 1])
    return [
        {"label": label, "count": count, "percent": round(100.0 * count / highest, 1)}
        for count, label in zip(counts, labels, strict=True)
    ]


def _evenly(coverage: Sequence[ImageCoverage], count: int) -> list[ImageCoverage]:
    places = np.unique(np.linspace(0, len(coverage) - 1, min(len(coverage), count)).round().astype(int))
    return [coverage[place] for place in places]


def _picture(folder: Path, image_name: str) -> str:
    """The thumbnail of an image as base64, empty where the map has none."""
    path = folder / THUMBNAIL_FOLDER / thumbnail_name(image_name)
    return base64.b64encode(path.read_bytes()).decode("ascii") if path.exists() else ""


@dataclass(frozen=True)
class ImageCoverage:
    """One image: points it sees, share of its keypoints that they are, their mean error in pixels and track length."""

    name: str
    observations: int
    share: float
    reprojection_error_px: float
    track_length: float


def image_coverage(model: ColmapModel) -> list[ImageCoverage]:
    """Measure every image of a model, in its order."""
    return [_measure(model, image) for image in model.images]


def weakest(coverage: Sequence[ImageCoverage], count: int) -> list[ImageCoverage]:
    """The worst images: half of them see the fewest points, the others reproject worst; each once."""
    sparse = sorted(coverage, key=lambda image: image.observations)[: count // 2]
    others = [image for image in coverage if image not in sparse]
    return sparse + sorted(others, key=lambda image: -image.reprojection_error_px)[: count - len(sparse)]


def reprojection_errors(model: ColmapModel, image: ModelImage) -> Array:
    """Distance (K,) in pixels between the keypoints of an image that have a point and the projections of these."""
    rows: NDArray[np.int32] = model.rows_of(image.point_ids)
    seen = rows >= 0
    in_camera = image.map_from_camera.inverse @ model.points[rows[seen]]
    projected = project(model.cameras[image.camera_id], in_camera)
    return np.asarray(np.linalg.norm(projected - image.keypoints[seen], axis=1))


def _measure(model: ColmapModel, image: ModelImage) -> ImageCoverage:
    errors = reprojection_errors(model, image)
    if len(errors) == 0:
        return ImageCoverage(image.name, 0, 0.0, 0.0, 0.0)
    share = len(errors) / len(image.point_ids)
    rows = model.rows_of(image.point_ids)
    track_length = float(model.track_lengths[rows[rows >= 0]].mean())
    return ImageCoverage(image.name, len(errors), share, float(errors.mean()), track_length)
