"""Merges several maps of one place, and adjusts them as a whole; one method shows all steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import Manifest, ModelInfo, in_frame
from visloc_ros.core.map import NO_POINT, Map, MapImage, open_map
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import changed_folder, is_in_place, successor
from visloc_ros.core.map_writer import check_output, write_map
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import Vlad, VladConfig
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import write_thumbnails
from visloc_ros.mapping.config import MappingConfig, ReconstructionConfig
from visloc_ros.mapping.extension import SEPARATOR, reconstruction_of
from visloc_ros.mapping.map_models import choose_config, stated_extractor
from visloc_ros.mapping.map_sources import unique_labels
from visloc_ros.mapping.mappers import adjustment_options, quiet_colmap
from visloc_ros.mapping.merging.joining import join, same_points
from visloc_ros.mapping.merging.placing import MapPlacement, NoOverlapError, place_map
from visloc_ros.mapping.merging.sightings import MapSearch, Sightings
from visloc_ros.mapping.registration import tolerated_error_px
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.mapping.summary import ImageCount, MapSummary, summarize
from visloc_ros.mapping.validation import validate_map


def merge_maps(
    paths: Sequence[Path], output: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> MapSummary:
    """Write one map of several to the folder ``output``, in the frame of the first; these stay as they are.

    ``output`` may be the first map itself, with ``overwrite``: what it was stays beside it as an earlier version.
    Each map must overlap with the first or with another that does. Raises OutputError when ``output`` is taken or not
    writable, MapError when a map is broken, when the maps are of other features, when one has too little in common with
    the others, or contradicts them. A merge that ends early leaves nothing behind.
    """
    if len(paths) < 2:
        raise ConfigError("one map alone cannot be merged: name two or more")
    check_output(output, overwrite=overwrite, keeps_versions=is_in_place(paths[0], output))
    with changing(output):
        maps = [open_map(path, whole=True) for path in paths]
        check_mergeable(maps)
        merger = MapMerger(maps, progress or SilentProgress())
        with changed_folder(paths[0], maps[0].manifest, output, overwrite=overwrite) as folder:
            return merger.merge(folder, output.resolve().name, paths[0] if is_in_place(paths[0], output) else None)


class MapMerger:
    """Holds the maps and the options, those that the first was built with."""

    def __init__(self, maps: Sequence[Map], progress: Progress) -> None:
        self._maps = maps
        self._first = maps[0]
        self._config: MappingConfig = choose_config(self._first, None)
        self._progress = progress
        self._watch = Stopwatch()
        self._residuals: list[dict[str, Any]] = []

    def merge(self, folder: Path, name: str, replaced: Path | None = None) -> MapSummary:
        """Write the merged map into an existing folder; it is the next version of the first, if that is replaced."""
        merged, rest = self._first, list(self._maps[1:])
        while rest:
            other, placement = self._find_next(merged, rest)
            rest.remove(other)
            merged = self._adjust(merged, join(merged, other, placement.a_from_b, same_points(other, placement.agreed)))
            self._residuals.append({"map": other.name, "residuals": dict(placement.residuals)})
        return self._write(folder, merged, name, replaced)

    def _find_next(self, merged: Map, rest: Sequence[Map]) -> tuple[Map, MapPlacement]:
        """The first map that overlaps with the merged one, and its place. Raises NoOverlapError if none does."""
        refusals = []
        for other in rest:
            try:
                return other, self._place(merged, other)
            except NoOverlapError as error:
                refusals.append(error)
        raise refusals[0]

    def _place(self, merged: Map, other: Map) -> MapPlacement:
        """Search the other map's images, place it, and search again where the others must be."""
        self._progress.stage(f"search '{other.name}'", len(other.images))
        with self._watch("search"):
            search = MapSearch(merged, stated_extractor(merged), self._progress.advance)
            sightings = search.find_all(other)
            placed = place_map(merged, other, sightings)
            return place_map(merged, other, sightings.with_more(self._find_rest(search, other, placed, sightings)))

    def _find_rest(self, search: MapSearch, other: Map, placed: MapPlacement, sightings: Sightings) -> Sightings:
        poses = {row: placed.a_from_b.apply_to_pose(other.images[row].map_from_camera) for row in sightings.refused}
        self._progress.stage(f"search '{other.name}' again", len(poses))
        return search.find_around(other, poses)

    def _adjust(self, merged: Map, joined: Map) -> Map:
        """The joined map without seams; images at reference poses stay at them."""
        config = self._config.reconstruction
        names = {image.name for image in self._first.images}
        self._progress.stage("adjust", 1)
        with self._watch("adjust"):
            max_error_px = tolerated_error_px(reconstruction_of(merged), config)
            adjusted = adjust(joined, names, max_error_px, config, is_fixed=self._is_fixed)
        self._progress.advance()
        return adjusted

    @property
    def _is_fixed(self) -> bool:
        """Whether the first map's images stay at reference poses, and so its frame."""
        return (
            self._first.manifest.scale_source == "reference poses" and self._config.reconstruction.reference == "fixed"
        )

    def _write(self, folder: Path, merged: Map, name: str, replaced: Path | None) -> MapSummary:
        with self._watch("save"):
            reconstruction = reconstruction_of(merged)
            index = index_of(merged, self._config.vlad)
            every = {image.name: image.features for image in merged.images}
            reconstruction, features = sparsify(reconstruction, every, index.length, self._config.sparsification)
            write_thumbnails(folder / THUMBNAIL_FOLDER, merged.thumbnails)
            manifest = self._describe_map(name, index)
            if replaced is not None:
                manifest = successor(manifest, replaced, self._first.manifest, "merge")
            manifest = write_map(folder, reconstruction, features, index.descriptors, index.centroids, manifest)
            manifest = validate_map(folder, manifest)
        counts = [ImageCount(map_.name, len(map_.images), len(map_.images)) for map_ in self._maps]
        summary = summarize(manifest, counts, reconstruction, self._watch.stage_ms)
        summary = replace(summary, advice=(*summary.advice, *advise(self._maps)))
        write_card(folder, manifest, summary)
        return summary

    def _describe_map(self, name: str, index: MapIndex) -> Manifest:
        first = self._first.manifest
        labels = [label for map_ in self._maps for label in map_.manifest.created_from.split(SEPARATOR)]
        frame = first.frame if self._is_fixed else CoordinateFrame.new()  # adjustment has moved the first map's images
        return replace(
            in_frame(first, frame),
            name=name,
            version=1,
            built_images=0,
            sessions=(),
            history=(),
            created_from=SEPARATOR.join(unique_labels(labels)),
            models={**first.models, "global": index.model},
            config=first.config or self._config.to_mapping(),
            merged=[*first.merged, *self._residuals],
        )


def advise(maps: Sequence[Map]) -> list[str]:
    """Which map would better have been the first."""
    first, others = maps[0].manifest, maps[1:]
    lines = []
    for word, has in (("metric", "metric"), ("level", "gravity_aligned")):
        better = next((map_.name for map_ in others if getattr(map_.manifest, has)), None)
        if better is not None and not getattr(first, has):
            lines.append(f"'{better}' is {word}, '{maps[0].name}' is not, whose frame this map has: name it first")
    return lines


def check_mergeable(maps: Sequence[Map]) -> None:
    """Refuse maps whose features cannot be compared, and a map that is given twice. Raises MapError."""
    for map_ in maps[1:]:
        check_features(maps[0], map_)
    for one, other in combinations(maps, 2):
        if _images(one) & _images(other):
            raise MapError(
                f"'{one.name}' and '{other.name}' hold the same images: a map can be merged only with maps of other "
                "images; extend one of them by what it lacks (visloc build-map VIDEO --add-to MAP)"
            )


def check_features(a: Map, b: Map) -> None:
    """Refuse two maps whose features cannot be compared. Raises MapError."""
    ours, theirs = stated_extractor(a), stated_extractor(b)
    if ours.name != theirs.name:
        raise MapError(
            f"'{a.name}' was made with '{ours.name}', '{b.name}' with '{theirs.name}', which cannot be compared: build "
            f"one of them again with features.name '{ours.name}' or '{theirs.name}'"
        )
    if ours.sha256 and theirs.sha256 and ours.sha256 != theirs.sha256:
        raise MapError(
            f"'{a.name}' and '{b.name}' were made with other weights of '{ours.name}' (SHA-256 {ours.sha256[:12]}..., "
            f"{theirs.sha256[:12]}...): build one of them again with the weights of the other"
        )
    lengths = {image.features.descriptors.shape[1] for map_ in (a, b) for image in map_.images}
    if len(lengths) > 1:
        raise MapError(f"'{a.name}' and '{b.name}' hold descriptors of lengths {sorted(lengths)}: build one again")


def _images(map_: Map) -> set[bytes]:
    """An identity of an image that does not depend on its name: its keypoints."""
    return {image.features.keypoints.tobytes() for image in map_.images if len(image.features)}


@dataclass(frozen=True, eq=False)
class MapIndex:
    """Global descriptors (G,) by image name, the model that made them, and its codebook, empty unless it is VLAD."""

    model: ModelInfo
    descriptors: Mapping[str, NDArray[np.float32]]
    centroids: NDArray[np.float32]

    @property
    def length(self) -> int:
        """Length of a descriptor."""
        return next(iter(self.descriptors.values())).size


def index_of(map_: Map, config: VladConfig) -> MapIndex:
    """The index of a map: its own, where it has global descriptors, else VLAD with a codebook of all of its images."""
    names = [image.name for image in map_.images]
    if map_.global_descriptors.size:
        descriptors = dict(zip(names, map_.global_descriptors, strict=True))
        return MapIndex(map_.manifest.models["global"], descriptors, map_.vlad_centroids)
    vlad = Vlad.train((image.features.descriptors for image in map_.images), config)
    described = {image.name: vlad.describe_features(image.features) for image in map_.images}
    return MapIndex(vlad.info, described, vlad.centroids)


def adjust(
    map_: Map, first: Collection[str], max_error_px: float, config: ReconstructionConfig, *, is_fixed: bool
) -> Map:
    """A bundle adjustment of poses and points; cameras stay as they are.

    The images named ``first`` keep their frame: their common motion is undone; with ``is_fixed`` none of them moves. Of
    points that other images see, observations farther off than ``max_error_px`` afterwards are dropped.
    """
    reconstruction = reconstruction_of(map_)
    first_ids = {image_id for image_id, image in reconstruction.images.items() if image.name in first}
    before = {name: pose for name, pose in registered_poses(reconstruction).items() if name in first}
    with quiet_colmap():
        problem = _problem(reconstruction, first_ids if is_fixed else set())
        pycolmap.create_default_bundle_adjuster(adjustment_options(config), problem, reconstruction).solve()
        if not is_fixed:
            transform(reconstruction, align_to_references(registered_poses(reconstruction), before))
        observations = pycolmap.ObservationManager(reconstruction)
        new_points = _seen_by_others(reconstruction, first_ids)
        observations.filter_points3D(max_error_px, config.min_triangulation_angle_deg, new_points)
    return _read_back(map_, reconstruction, before if is_fixed else {})


def _problem(reconstruction: pycolmap.Reconstruction, fixed_ids: set[int]) -> pycolmap.BundleAdjustmentConfig:
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.reg_image_ids():
        problem.add_image(image_id)
    for camera_id in reconstruction.cameras:
        problem.set_constant_cam_intrinsics(camera_id)
    for image_id in fixed_ids:
        problem.set_constant_rig_from_world_pose(reconstruction.images[image_id].frame_id)
    if not fixed_ids:
        problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    return problem


def _seen_by_others(reconstruction: pycolmap.Reconstruction, first_ids: set[int]) -> set[int]:
    others = (image for image_id, image in reconstruction.images.items() if image_id not in first_ids)
    return {point.point3D_id for image in others for point in image.get_observation_points2D()}


def _read_back(map_: Map, reconstruction: pycolmap.Reconstruction, exact: dict[str, SE3]) -> Map:
    """The map with the poses, points and observations of its reconstruction."""
    point_ids = sorted(reconstruction.points3D)
    rows = {point_id: row for row, point_id in enumerate(point_ids)}
    poses = registered_poses(reconstruction) | exact
    by_name = {image.name: image for image in reconstruction.images.values()}
    images = tuple(_moved(image, poses[image.name], by_name[image.name], rows) for image in map_.images)
    points = np.array([reconstruction.points3D[point_id].xyz for point_id in point_ids]).reshape(-1, 3)
    return replace(map_, images=images, points=points)


def _moved(image: MapImage, pose: SE3, adjusted: pycolmap.Image, rows: dict[int, int]) -> MapImage:
    point_rows = np.full(len(image.features), NO_POINT, np.int32)
    seen = [rows[point.point3D_id] for point in adjusted.get_observation_points2D()]
    point_rows[adjusted.get_observation_point2D_idxs()] = seen
    return replace(image, map_from_camera=pose, point_rows=point_rows)
