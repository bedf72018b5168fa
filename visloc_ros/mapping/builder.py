"""Builds a map folder from sources of frames; one method shows all steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import check_space
from visloc_ros.core.errors import MapError
from visloc_ros.core.map import LocalFeatures, Manifest
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_writer import check_output, staged_folder, write_map
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import GlobalDescriptor, Vlad
from visloc_ros.mapping.camera_knowledge import CameraKnowledge, assess_cameras
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import FrameCollector, MapFrame, write_thumbnails
from visloc_ros.mapping.config import MappingConfig, PairConfig, check_frame_config
from visloc_ros.mapping.map_models import load_models
from visloc_ros.mapping.map_sources import MapSource, ReferencePoses, SourceRecording, label_sources
from visloc_ros.mapping.matching import PairMatches, match_pairs, renumber, without_weak_loops
from visloc_ros.mapping.pairs import Pair, loop_pairs, merge_pairs, retrieval_pairs, sequential_pairs, view_pairs
from visloc_ros.mapping.parallel import count_workers
from visloc_ros.mapping.placement import Placement, place
from visloc_ros.mapping.reconstruction import reconstruct, registered_poses, triangulate_at_known_poses
from visloc_ros.mapping.registration import register_views
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.mapping.summary import ImageCount, MapSummary, summarize
from visloc_ros.mapping.validation import validate_map
from visloc_ros.sources import FrameSource

LEAST_BYTES_AN_IMAGE = 45_000  # of the sparsest maps that still serve (results/map_size.md)


def build_map(
    sources: FrameSource | Sequence[FrameSource],
    output: Path,
    config: MappingConfig | None = None,
    *,
    reference_poses: ReferencePoses | Sequence[ReferencePoses | None] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MapSummary:
    """Build one map from the frames of one or several sources and write it to the folder ``output``.

    ``reference_poses`` are ``map_from_camera`` in metres, by stamp or by image name, for all sources or one (or None)
    for each. Where points are triangulated at them, frames that they do not cover are left out, and the frames of
    sources without any are registered beside the others. A build that ends early (by an error, Ctrl-C) leaves nothing
    behind and an old map untouched. Raises OutputError when ``output`` is taken or not writable, ConfigError
    on contradicting options, MapError when no map can be made of the frames.
    """
    config = config or MappingConfig()
    check_output(output, overwrite=overwrite)
    labelled = label_sources(sources, reference_poses)
    measurements = [source.measurements for source in labelled]
    check_frame_config(config.frame, any(source.references is not None for source in labelled), measurements)
    builder = MapBuilder(config, progress or SilentProgress())
    with staged_folder(output, overwrite=overwrite) as folder:
        return builder.build(labelled, folder, output.resolve().name)


class MapBuilder:
    """Holds the models and the options of a build."""

    def __init__(self, config: MappingConfig, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._watch = Stopwatch()
        self._models = load_models(config)
        self._collector = FrameCollector(self._models.extractor, self._models.describer, config, progress, self._watch)

    def build(self, sources: Sequence[MapSource], folder: Path, name: str) -> MapSummary:
        """Make a map of the sources' frames in an existing folder."""
        chosen = self._collector.select(sources)
        check_space(folder, LEAST_BYTES_AN_IMAGE * sum(map(len, chosen)))
        frames = self._collector.extract(sources, chosen)
        _check_enough(frames)
        describer, descriptors = self._describe(frames)
        pairs = choose_pairs(frames, descriptors, self._config.pairs)
        matches = self._match(frames, pairs)
        reconstruction = self._reconstruct(frames, matches)
        placement = self._place(reconstruction, sources, frames)
        cameras = self._assess_cameras(reconstruction, frames)
        manifest = with_cameras(self._describe_map(name, sources, placement, describer), cameras)
        reconstruction, features = self._sparsify(reconstruction, frames, descriptors.shape[1])
        manifest = self._save(folder, manifest, frames, reconstruction, features, describer, descriptors)
        registered = registered_poses(reconstruction)
        counts = count_images(sources, chosen, frames, registered)
        left_out = [frame.name for frame in frames if frame.name not in registered]
        summary = summarize(manifest, counts, reconstruction, self._watch.stage_ms, left_out, cameras)
        write_card(folder, manifest, summary)
        return summary

    def _assess_cameras(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[MapFrame]
    ) -> list[CameraKnowledge]:
        at_references = self._is_at_references(frames)
        fixed = {frame.name for frame in frames if at_references and frame.map_from_camera is not None}
        return assess_cameras(reconstruction, {frame.name: frame.camera.calibrated for frame in frames}, fixed)

    def _describe(self, frames: Sequence[MapFrame]) -> tuple[GlobalDescriptor, NDArray[np.float32]]:
        known = [frame.global_descriptor for frame in frames if frame.global_descriptor is not None]
        if self._models.describer is not None:
            return self._models.describer, np.stack(known)
        with self._watch("describe"):
            vlad = Vlad.train([frame.features.descriptors for frame in frames], self._config.vlad)
            tracked = track(self._progress, "describe", frames, len(frames))
            return vlad, np.stack([vlad.describe_features(frame.features) for frame in tracked])

    def _match(self, frames: Sequence[MapFrame], pairs: Sequence[Pair]) -> PairMatches:
        with self._watch("match"):
            features = [frame.features for frame in frames]
            workers = count_workers(self._config.workers)
            return match_pairs(self._models.matcher, features, pairs, self._progress, workers)

    def _reconstruct(self, frames: Sequence[MapFrame], matches: PairMatches) -> pycolmap.Reconstruction:
        config = self._config.reconstruction
        self._progress.stage("reconstruct", len(frames))
        with self._watch("reconstruct"):
            if self._is_at_references(frames):
                return self._reconstruct_at_references(frames, matches)
            views = [frame.view for frame in frames]
            matches = self._without_weak_loops(frames, matches)
            return reconstruct(views, matches, config, on_image=self._progress.advance)

    def _reconstruct_at_references(self, frames: Sequence[MapFrame], matches: PairMatches) -> pycolmap.Reconstruction:
        """Points at the reference poses; then, beside them, the images of sources that have none."""
        config = self._config.reconstruction
        poses = {row: frame.map_from_camera for row, frame in enumerate(frames) if frame.map_from_camera is not None}
        views = [frames[row].view for row in poses]
        reconstruction = triangulate_at_known_poses(views, list(poses.values()), renumber(matches, list(poses)), config)
        self._progress.advance(len(poses))
        registered = registered_poses(reconstruction)
        known = [row for row in poses if frames[row].name in registered]
        rest = [row for row in range(len(frames)) if row not in poses]
        if rest:
            names, views = [frames[row].name for row in known], [frames[row].view for row in rest]
            new_matches = {pair: rows for pair, rows in matches.items() if not poses.keys() >= set(pair)}
            numbered = renumber(self._without_weak_loops(frames, new_matches), [*known, *rest])
            register_views(reconstruction, names, views, numbered, config, self._progress.advance)
        return reconstruction

    def _without_weak_loops(self, frames: Sequence[MapFrame], matches: PairMatches) -> PairMatches:
        pairs, sources = self._config.pairs, [frame.source for frame in frames]
        return without_weak_loops(matches, pairs.loop_gap, pairs.loop_min_matches, sources)

    def _is_at_references(self, frames: Sequence[MapFrame]) -> bool:
        has_references = any(frame.map_from_camera is not None for frame in frames)
        return has_references and self._config.reconstruction.reference == "fixed"

    def _place(
        self, reconstruction: pycolmap.Reconstruction, sources: Sequence[MapSource], frames: Sequence[MapFrame]
    ) -> Placement:
        known = {frame.name: frame.map_from_camera for frame in frames if frame.map_from_camera is not None}
        references = known if any(source.references is not None for source in sources) else None
        recordings = [_recording_of(source, frames) for source in sources]
        at_references = self._is_at_references(frames)
        config = self._config.frame
        return place(reconstruction, references, config, at_references=at_references, recordings=recordings)

    def _describe_map(
        self, name: str, sources: Sequence[MapSource], placement: Placement, describer: GlobalDescriptor
    ) -> Manifest:
        models = {
            "extractor": self._models.extractor.info,
            "matcher": self._models.matcher.first.info,
            "global": describer.info,
        }
        made_from = ", ".join(source.label for source in sources)
        return Manifest(name, made_from, models, config=self._config.to_mapping(), **asdict(placement))

    def _sparsify(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[MapFrame], global_length: int
    ) -> tuple[pycolmap.Reconstruction, dict[str, LocalFeatures]]:
        with self._watch("sparsify"):
            features = {frame.name: frame.features for frame in frames}
            return sparsify(reconstruction, features, global_length, self._config.sparsification)

    def _save(
        self,
        folder: Path,
        manifest: Manifest,
        frames: Sequence[MapFrame],
        reconstruction: pycolmap.Reconstruction,
        features: Mapping[str, LocalFeatures],
        describer: GlobalDescriptor,
        descriptors: NDArray[np.float32],
    ) -> Manifest:
        with self._watch("save"):
            thumbnails = {frame.name: frame.thumbnail for frame in frames if frame.name in features}
            write_thumbnails(folder / THUMBNAIL_FOLDER, thumbnails)
            by_name = {frame.name: descriptor for frame, descriptor in zip(frames, descriptors, strict=True)}
            centroids = centroids_of(describer)
            return validate_map(folder, write_map(folder, reconstruction, features, by_name, centroids, manifest))


def choose_pairs(frames: Sequence[MapFrame], descriptors: NDArray[np.float32], config: PairConfig) -> list[Pair]:
    """Pairs of frames to match: those that follow each other in a source, and alike ones within and across sources.

    Alike are those of the same view where all reference poses are known, else those of like descriptors.
    """
    sources = [frame.source for frame in frames]
    following = [(i, j) for i, j in sequential_pairs(len(frames), config.window) if sources[i] == sources[j]]
    poses = [frame.map_from_camera for frame in frames if frame.map_from_camera is not None]
    if len(poses) == len(frames):
        alike = view_pairs(poses, config.retrieval, config.max_view_angle_deg, following, sources)
        return merge_pairs(following, alike)
    alike = retrieval_pairs(descriptors, config.retrieval, following, sources)
    return merge_pairs(following, alike, loop_pairs(descriptors, config.loops, config.loop_gap, sources))


def with_cameras(manifest: Manifest, cameras: Sequence[CameraKnowledge]) -> Manifest:
    """The manifest with the sources of the map's new cameras."""
    new = {f"new {number}": camera.to_mapping() for number, camera in enumerate(cameras)}
    return replace(manifest, cameras={**manifest.cameras, **new})


def count_images(
    sources: Sequence[MapSource],
    chosen: Sequence[Sequence[int]],
    frames: Sequence[MapFrame],
    registered: Collection[str],
) -> list[ImageCount]:
    """For every source, how many of the chosen frames are registered."""
    found = Counter(frame.source for frame in frames if frame.name in registered)
    return [
        ImageCount(source.label, len(indices), found[source.label])
        for source, indices in zip(sources, chosen, strict=True)
    ]


def _recording_of(source: MapSource, frames: Sequence[MapFrame]) -> SourceRecording:
    stamps_ns = {frame.name: frame.stamp_ns for frame in frames if frame.source == source.label}
    return SourceRecording(stamps_ns, source.measurements)


def centroids_of(describer: GlobalDescriptor) -> NDArray[np.float32]:
    """The codebook (C, D) that a map keeps for its global descriptor, empty where that is not VLAD."""
    return describer.centroids if isinstance(describer, Vlad) else np.empty((0, 0), np.float32)


def _check_enough(frames: Sequence[MapFrame]) -> None:
    if len(frames) < 2:
        raise MapError(
            f"{len(frames)} usable frames are too few for a map: the camera must move and see some texture, and "
            "reference poses must cover the images' stamps"
        )
