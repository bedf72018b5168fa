"""Adds images to an existing map: they are registered in it, and its own images and points do not move."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, open_map
from visloc_ros.core.map_archive import map_folder
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import changed_folder, is_in_place, successor
from visloc_ros.core.map_writer import check_output, write_map
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import LocalExtractor
from visloc_ros.mapping.builder import centroids_of, choose_pairs, count_images, with_cameras
from visloc_ros.mapping.camera_knowledge import assess_cameras
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import FrameCollector, MapFrame, write_thumbnails
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.map_models import choose_config, global_descriptors, load_models_of
from visloc_ros.mapping.map_sources import MapCamera, MapSource, label_sources
from visloc_ros.mapping.matching import PairMatches, match_pairs, renumber, without_weak_loops
from visloc_ros.mapping.pairs import merge_pairs, pairs_to_known
from visloc_ros.mapping.parallel import count_workers
from visloc_ros.mapping.registration import register_views
from visloc_ros.mapping.sfm_database import SfmImage, add_views, registered_poses
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.mapping.summary import ImageCount, MapSummary, summarize
from visloc_ros.mapping.turned_images import TurnFinder, groups_beside
from visloc_ros.mapping.update.use import carry_use
from visloc_ros.mapping.validation import validate_map
from visloc_ros.sources import FrameSource

SEPARATOR = ", "  # of sources in what a map was made from
_THE_MAP = ""  # the source of its own images


def extend_map(
    map_path: Path,
    sources: FrameSource | Sequence[FrameSource],
    output: Path,
    config: MappingConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MapSummary:
    """Add the frames of one or several sources to a map and write the larger map to the folder ``output``.

    The map's poses, points and cameras stay exactly as they are, and so do its scale and axes. Frames that find no
    place in it are left out and named. ``config`` defaults to the options that the map was built with. ``output`` may
    be the map itself, with ``overwrite``: it is replaced once the new one is whole, and stays beside that as an earlier
    version. Raises OutputError when ``output``
    is taken or not writable, MapError when the map is broken, was made by models that are not available, or has nothing
    in common with the frames, ConfigError when ``config`` names another extractor than the map's.
    """
    check_output(output, overwrite=overwrite, keeps_versions=is_in_place(map_path, output))
    with changing(output), map_folder(map_path) as old_folder:
        map_ = open_map(old_folder, whole=True)
        extender = MapExtender(map_, choose_config(map_, config), progress or SilentProgress())
        labelled = label_sources(sources, taken=map_.manifest.created_from.split(SEPARATOR))
        with changed_folder(old_folder, map_.manifest, output, overwrite=overwrite) as folder:
            if (old_folder / THUMBNAIL_FOLDER).is_dir():
                shutil.copytree(old_folder / THUMBNAIL_FOLDER, folder / THUMBNAIL_FOLDER)
            return extender.extend(labelled, old_folder, folder, output.resolve().name)


@dataclass(frozen=True, eq=False)
class Added:
    """A map's reconstruction with frames added, the features of all its images, the names of frames left out."""

    reconstruction: pycolmap.Reconstruction
    features: Mapping[str, LocalFeatures]
    left_out: Sequence[str]


class MapExtender:
    """Holds a map, the models that made it, and the options."""

    def __init__(self, map_: Map, config: MappingConfig, progress: Progress) -> None:
        self._map = map_
        self._config = config
        self._progress = progress
        self._watch = Stopwatch()
        self._models, self._describer = load_models_of(map_, config)
        self._known = global_descriptors(map_, self._describer)
        self._collector = FrameCollector(self._models.extractor, self._describer, config, progress, self._watch)

    def of(self, map_: Map) -> MapExtender:
        """The same models and options for another version of the map."""
        other = copy(self)
        other._map, other._known = map_, global_descriptors(map_, self._describer)
        return other

    @property
    def extractor(self) -> LocalExtractor:
        """The extractor that made the map's features."""
        return self._models.extractor

    def extend(self, sources: Sequence[MapSource], old_folder: Path, folder: Path, name: str) -> MapSummary:
        """Write a map of the existing images, in ``old_folder``, and the sources' frames into an existing folder."""
        chosen = self._collector.select(sources)
        frames = self.extract(sources, chosen)
        if not frames:
            raise MapError("none of the images shows enough texture to be added to a map")
        frames, added = self._add_turned(sources, frames, self.add(frames))
        if len(added.left_out) == len(frames):
            raise MapError(
                f"none of the {len(frames)} images found a place in the map '{self._map.name}': they must show, at "
                "least in part, what the map shows; make a separate map from them if they do not"
            )
        reconstruction = added.reconstruction
        cameras = assess_cameras(reconstruction, {frame.name: frame.camera for frame in frames})
        extended = successor(self.describe_map(name, sources), old_folder, self._map.manifest, "extend")
        extended = replace(with_cameras(extended, cameras), built_images=0)  # of all that it has now
        written = self.save(folder, extended, frames, added)
        manifest = validate_map(folder, carry_use(old_folder, self._map, folder, written))
        counts = self._count(sources, chosen, frames, reconstruction)
        summary = summarize(manifest, counts, reconstruction, self._watch.stage_ms, added.left_out, cameras)
        write_card(folder, manifest, summary)
        return summary

    def select(self, sources: Sequence[MapSource]) -> list[list[int]]:
        """Indices of the frames of each source that a map would take."""
        return self._collector.select(sources)

    def extract(self, sources: Sequence[MapSource], chosen: Sequence[Sequence[int]]) -> list[MapFrame]:
        """The chosen frames that show enough, with their features, under names that the map does not have yet."""
        return self._collector.extract(sources, chosen, taken=[image.name for image in self._map.images])

    def add(self, frames: Sequence[MapFrame]) -> Added:
        """The map's reconstruction with these frames, thinned out as its options say."""
        reconstruction = reconstruction_of(self._map)
        left_out = self._register(reconstruction, frames, self._match(frames)) if frames else []
        return Added(*self._sparsify(reconstruction, frames), left_out)

    def _add_turned(
        self, sources: Sequence[MapSource], frames: list[MapFrame], added: Added
    ) -> tuple[list[MapFrame], Added]:
        """The same with images turned that find a place only so."""
        groups = groups_beside(frames, [{frame.name for frame in frames} - set(added.left_out)])
        features, config = [image.features for image in self._map.images], self._config.pairs
        finder = TurnFinder(self._collector, self._models.matcher, self._describer, features, self._known)
        turned = finder.turned(sources, frames, groups, config.loop_min_matches)
        if not turned:
            return frames, added
        with_turned = [turned.get(row, frame) for row, frame in enumerate(frames)]
        again = self.add(with_turned)
        return (with_turned, again) if len(again.left_out) < len(added.left_out) else (frames, added)

    def _match(self, frames: Sequence[MapFrame]) -> PairMatches:
        """Matches of the frames with each other and with like images of the map, whose rows come first."""
        config, offset = self._config.pairs, len(self._map.images)
        descriptors = np.array([frame.global_descriptor for frame in frames])
        among_new = [(offset + i, offset + j) for i, j in choose_pairs(frames, descriptors, config)]
        pairs = merge_pairs(among_new, pairs_to_known(descriptors, self._known, config.map_retrieval))
        features = [image.features for image in self._map.images] + [frame.features for frame in frames]
        with self._watch("match"):
            workers = count_workers(self._config.workers)
            matches = match_pairs(self._models.matcher, features, pairs, self._progress, workers)
        sources = [_THE_MAP] * offset + [frame.source for frame in frames]
        return without_weak_loops(matches, features, config.loop_gap, config.loop_min_matches, sources)

    def _register(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[MapFrame], matches: PairMatches
    ) -> list[str]:
        """Register the frames; gives the names of those without a place."""
        offset = len(self._map.images)
        known = sorted({row for pair in matches for row in pair if row < offset})
        numbered = renumber(matches, [*known, *range(offset, offset + len(frames))])
        names, views = [self._map.images[row].name for row in known], [frame.view for frame in frames]
        self._progress.stage("register", len(frames))
        with self._watch("register"):
            config = self._config.reconstruction
            return register_views(reconstruction, names, views, numbered, config, self._progress.advance)

    def _sparsify(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[MapFrame]
    ) -> tuple[pycolmap.Reconstruction, Mapping[str, LocalFeatures]]:
        with self._watch("sparsify"):
            features = {image.name: image.features for image in self._map.images}
            features |= {frame.name: frame.features for frame in frames}
            finished = {image.name for image in self._map.images}
            return sparsify(reconstruction, features, self._known.shape[1], self._config.sparsification, finished)

    def describe_map(self, name: str, sources: Sequence[MapSource]) -> Manifest:
        """The manifest of the map with further sources, before what it contains is known."""
        old = self._map.manifest
        made_from = SEPARATOR.join([old.created_from, *(source.label for source in sources)])
        models = {"matcher": self._models.matcher.first.info, **old.models, "global": self._describer.info}
        config = old.config or self._config.to_mapping()
        return replace(old, name=name, created_from=made_from, models=models, config=config)

    def save(self, folder: Path, manifest: Manifest, frames: Sequence[MapFrame], added: Added) -> Manifest:
        """Write the files of the map with added frames into a folder; gives the complete manifest."""
        features = added.features
        with self._watch("save"):
            thumbnails = {frame.name: frame.thumbnail for frame in frames if frame.name in features}
            write_thumbnails(folder / THUMBNAIL_FOLDER, thumbnails)
            descriptors = {image.name: known for image, known in zip(self._map.images, self._known, strict=True)}
            descriptors |= {frame.name: np.asarray(frame.global_descriptor) for frame in frames}
            centroids = centroids_of(self._describer)
            return write_map(folder, added.reconstruction, features, descriptors, centroids, manifest)

    def _count(
        self,
        sources: Sequence[MapSource],
        chosen: Sequence[Sequence[int]],
        frames: Sequence[MapFrame],
        reconstruction: pycolmap.Reconstruction,
    ) -> list[ImageCount]:
        there = ImageCount(self._map.name, len(self._map.images), len(self._map.images))
        return [there, *count_images(sources, chosen, frames, registered_poses(reconstruction))]


def reconstruction_of(map_: Map) -> pycolmap.Reconstruction:
    """A map's images, cameras and points as a COLMAP reconstruction; points keep their order."""
    # Images of one camera share the object.
    cameras = {id(image.camera): MapCamera(image.camera, calibrated=True) for image in map_.images}
    views = [SfmImage(image.name, image.features.keypoints, cameras[id(image.camera)]) for image in map_.images]
    reconstruction = pycolmap.Reconstruction()
    image_ids = add_views(reconstruction, views, [image.map_from_camera for image in map_.images])
    tracks = [pycolmap.Track() for _ in map_.points]
    for image_id, image in zip(image_ids, map_.images, strict=True):
        for keypoint_row in np.flatnonzero(image.point_rows != NO_POINT):
            tracks[image.point_rows[keypoint_row]].add_element(image_id, int(keypoint_row))
    for point, seen_by in zip(map_.points, tracks, strict=True):
        if seen_by.length() > 0:
            reconstruction.add_point3D(point, seen_by)
    return reconstruction
