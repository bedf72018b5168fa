"""Builds a map folder from sources of frames; one method shows all steps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import check_space
from visloc_ros.core.errors import MapError
from visloc_ros.core.map import LocalFeatures, Manifest, ModelInfo
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_writer import check_output, staged_folder, write_map
from visloc_ros.core.on_demand import OnDemand
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import GlobalDescriptor, Vlad
from visloc_ros.mapping.camera_knowledge import CameraKnowledge, assess_cameras
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.collection import AnyFrame, FrameCollector, MapFrame, write_thumbnails
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import FrameConfig, MappingConfig, PairConfig, check_frame_config
from visloc_ros.mapping.map_models import load_models
from visloc_ros.mapping.map_sources import MapSource, ReferencePoses, SourceRecording, label_sources
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import (
    Pair,
    loop_pairs,
    merge_pairs,
    retrieval_pairs,
    sequential_pairs,
    view_pairs,
)
from visloc_ros.mapping.parts import NewPart, created_from, describe_part, frame_of_one, part_folders
from visloc_ros.mapping.placement import Placement, place
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.sparsification import sparsify
from visloc_ros.mapping.structure_from_motion import Structure, StructureFromMotion
from visloc_ros.mapping.summary import ImageCount, MapPart, MapSummary, summarize
from visloc_ros.mapping.turned_images import TurnFinder, global_descriptor_of, groups_beside
from visloc_ros.mapping.validation import validate_map
from visloc_ros.sources import FrameSource

_log = logging.getLogger(__name__)

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
    with (
        staged_folder(output, overwrite=overwrite) as folder,
        part_folders(output, overwrite=overwrite) as new_part,
    ):
        return builder.build(labelled, folder, output.resolve().name, new_part)


@dataclass(frozen=True, eq=False)
class Material:
    """What all maps of a build are made from: ``chosen`` rows of each source, frames, their global descriptors.

    ``warnings`` of the largest map come first among its advice.
    """

    sources: Sequence[MapSource]
    chosen: Sequence[Sequence[int]]
    frames: Sequence[AnyFrame]
    describer: GlobalDescriptor
    descriptors: NDArray[np.float32]
    warnings: Sequence[str] = ()


class MapBuilder:
    """Holds the models and the options of a build."""

    def __init__(self, config: MappingConfig, progress: Progress, watch: Stopwatch | None = None) -> None:
        self._config = config
        self._progress = progress
        self._watch = watch or Stopwatch()
        self._models = load_models(config)
        self._collector = FrameCollector(self._models.extractor, self._models.describer, config, progress, self._watch)
        self._sfm = StructureFromMotion(config, self._models.matcher, progress, self._watch)

    @property
    def describer(self) -> GlobalDescriptor | None:
        """The global descriptor, unless it is trained with the map."""
        return self._models.describer

    @property
    def model_infos(self) -> dict[str, ModelInfo]:
        """What the features are made and matched by."""
        return {"extractor": self._models.extractor.info, "matcher": self._models.matcher.first.info}

    def build(self, sources: Sequence[MapSource], folder: Path, name: str, new_part: NewPart) -> MapSummary:
        """Make a map of the sources' frames in an existing folder.

        Frames that could not be joined with the others become maps in folders that ``new_part`` makes.
        """
        chosen = self._collector.select(sources)
        check_space(folder, LEAST_BYTES_AN_IMAGE * sum(map(len, chosen)))
        frames: Sequence[MapFrame] = self._collector.extract(sources, chosen)
        check_enough(frames)
        describer, descriptors = self._describe(frames)
        pairs = choose_pairs(frames, descriptors, self._config.pairs)
        matches = self._sfm.match(frames, pairs)
        structure = self._sfm.explain(frames, matches)
        material = Material(sources, chosen, structure.frames, describer, descriptors, structure.warnings)
        material, components = self._join_turned(material, structure, matches)
        return self.finish(material, components, folder, name, new_part)

    def _join_turned(
        self, material: Material, structure: Structure, matches: PairMatches
    ) -> tuple[Material, Sequence[Component]]:
        """Material and components of the frames, with images turned that join the largest component only so."""
        frames, components = structure.frames, structure.components
        names = [_registered_names(frames, component.model) for component in components]
        groups = [] if self._sfm.is_at_references(frames) else groups_beside(frames, names)
        known = [row for row, frame in enumerate(frames) if frame.name in set(names[0])]
        features, models = [frames[row].features for row in known], self._models
        describer, descriptors = material.describer, material.descriptors
        finder = TurnFinder(self._collector, models.matcher, describer, features, descriptors[known])
        turned = finder.turned(material.sources, frames, groups, self._config.pairs.loop_min_matches)
        if not turned:
            return material, components
        both = [turned.get(row, frame) for row, frame in enumerate(frames)]
        descriptors = descriptors.copy()
        for row, frame in turned.items():
            descriptors[row] = global_descriptor_of(frame, describer)
        pairs = choose_pairs(both, descriptors, self._config.pairs)
        kept = {pair: matches[pair] for pair in pairs if pair in matches and turned.keys().isdisjoint(pair)}
        rest = self._sfm.match(both, [pair for pair in pairs if pair not in kept])
        found = self._sfm.reconstruct(both, kept | rest)
        is_larger = found[0].size > components[0].size
        return (replace(material, frames=both, descriptors=descriptors), found) if is_larger else (material, components)

    def finish(
        self, material: Material, components: Sequence[Component], folder: Path, name: str, new_part: NewPart
    ) -> MapSummary:
        """Make a map of the first of these components in an existing folder, and of each other one beside it."""
        frames = material.frames
        names = [_registered_names(frames, component.model) for component in components]
        in_any = {image for one in names for image in one}
        every = [frame.name for frame in frames if frame.name in in_any]
        configs = [self._config.frame]
        if len(components) > 1:
            configs = [frame_of_one(self._config.frame, one, every) for one in names]
        parts = []
        for component, of_part, config in zip(components[1:], names[1:], configs[1:], strict=True):
            place_of_part = new_part()
            self._write(place_of_part, place_of_part.name, component, config, material, part_of=name)
            parts.append(describe_part(place_of_part.name, of_part, names[0], component.reason))
        left_out = [frame.name for frame in frames if frame.name not in in_any]
        return self._write(folder, name, components[0], configs[0], material, left_out, parts)

    def _write(
        self,
        folder: Path,
        name: str,
        component: Component,
        frame: FrameConfig,
        material: Material,
        left_out: Sequence[str] = (),
        parts: Sequence[MapPart] = (),
        part_of: str = "",
    ) -> MapSummary:
        """Place one component and write it as a map; ``part_of`` names the largest one, empty for that itself."""
        frames, reconstruction = material.frames, component.model
        place_it = self._place_part if part_of else self._place
        placement = place_it(reconstruction, material, frame)
        cameras = self._assess_cameras(reconstruction, frames)
        manifest = with_cameras(self._describe_map(name, material, placement, part_of), cameras)
        reconstruction, features = self._sparsify(reconstruction, frames, material.descriptors.shape[1])
        manifest = self._save(folder, manifest, material, reconstruction, features)
        registered = registered_poses(reconstruction)
        counts = count_images(material.sources, material.chosen, frames, registered)
        if part_of:
            counts = [ImageCount(count.source, count.registered, count.registered) for count in counts]
        times = self._watch.stage_ms
        summary = summarize(manifest, counts, reconstruction, times, left_out, cameras, parts, component.remark)
        if not part_of:
            summary = replace(summary, advice=(*material.warnings, *summary.advice))
        write_card(folder, manifest, summary)
        return summary

    def _assess_cameras(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[AnyFrame]
    ) -> list[CameraKnowledge]:
        at_references = self._sfm.is_at_references(frames)
        fixed = {frame.name for frame in frames if at_references and frame.map_from_camera is not None}
        return assess_cameras(reconstruction, {frame.name: frame.camera for frame in frames}, fixed)

    def _describe(self, frames: Sequence[MapFrame]) -> tuple[GlobalDescriptor, NDArray[np.float32]]:
        known = [frame.global_descriptor for frame in frames if frame.global_descriptor is not None]
        if self._models.describer is not None:
            return self._models.describer, np.stack(known)
        with self._watch("describe"):
            vlad = Vlad.train([frame.features.descriptors for frame in frames], self._config.vlad)
            tracked = track(self._progress, "describe", frames, len(frames))
            return vlad, np.stack([vlad.describe_features(frame.features) for frame in tracked])

    def _place(self, reconstruction: pycolmap.Reconstruction, material: Material, config: FrameConfig) -> Placement:
        sources, frames = material.sources, material.frames
        known = {frame.name: frame.map_from_camera for frame in frames if frame.map_from_camera is not None}
        references = known if any(source.references is not None for source in sources) else None
        recordings = [_recording_of(source, frames) for source in sources]
        at_references = self._sfm.is_at_references(frames)
        return place(reconstruction, references, config, at_references=at_references, recordings=recordings)

    def _place_part(
        self, reconstruction: pycolmap.Reconstruction, material: Material, config: FrameConfig
    ) -> Placement:
        """The same where it may be impossible: a part may lie beside the measurements that place the others."""
        try:
            return self._place(reconstruction, material, config)
        except MapError as error:
            _log.warning("a part of the images is mapped without a scale: %s", error)
            return place(reconstruction, None, replace(config, scale="none", scale_distance=0.0), at_references=False)

    def _describe_map(self, name: str, material: Material, placement: Placement, part_of: str) -> Manifest:
        models = {**self.model_infos, "global": material.describer.info}
        made_from = ", ".join(source.label for source in material.sources)
        made_from = created_from(made_from, part_of) if part_of else made_from
        return Manifest(name, made_from, models, config=self._config.to_mapping(), **asdict(placement))

    def _sparsify(
        self, reconstruction: pycolmap.Reconstruction, frames: Sequence[AnyFrame], global_length: int
    ) -> tuple[pycolmap.Reconstruction, Mapping[str, LocalFeatures]]:
        with self._watch("sparsify"):
            by_name = {frame.name: frame for frame in frames}
            features = OnDemand(by_name, lambda name: by_name[name].features)
            return sparsify(reconstruction, features, global_length, self._config.sparsification)

    def _save(
        self,
        folder: Path,
        manifest: Manifest,
        material: Material,
        reconstruction: pycolmap.Reconstruction,
        features: Mapping[str, LocalFeatures],
    ) -> Manifest:
        with self._watch("save"):
            kept = {frame.name: frame for frame in material.frames if frame.name in features}
            write_thumbnails(folder / THUMBNAIL_FOLDER, OnDemand(kept, lambda name: kept[name].thumbnail))
            pairs = zip(material.frames, material.descriptors, strict=True)
            by_name = {frame.name: descriptor for frame, descriptor in pairs}
            centroids = centroids_of(material.describer)
            return validate_map(folder, write_map(folder, reconstruction, features, by_name, centroids, manifest))


def choose_pairs(frames: Sequence[AnyFrame], descriptors: NDArray[np.float32], config: PairConfig) -> list[Pair]:
    """Pairs of frames to match: those that follow each other in a source, and alike ones within and across sources.

    Alike are those of the same view where all reference poses are known, else those of like descriptors.
    """
    sources = [frame.source for frame in frames]
    following = following_pairs(sources, config.window)
    poses = [frame.map_from_camera for frame in frames if frame.map_from_camera is not None]
    if len(poses) == len(frames):
        alike = view_pairs(poses, config.retrieval, config.max_view_angle_deg, following, sources)
        return merge_pairs(following, alike)
    alike = retrieval_pairs(descriptors, config.retrieval, following, sources)
    return merge_pairs(following, alike, loop_pairs(descriptors, config.loops, config.loop_gap, sources))


def following_pairs(sources: Sequence[str], window: int) -> list[Pair]:
    """Each image with the ``window`` images after it, of those of its own source."""
    return [(i, j) for i, j in sequential_pairs(len(sources), window) if sources[i] == sources[j]]


def with_cameras(manifest: Manifest, cameras: Sequence[CameraKnowledge]) -> Manifest:
    """The manifest with the sources of the map's new cameras."""
    new = {f"new {number}": camera.to_mapping() for number, camera in enumerate(cameras)}
    return replace(manifest, cameras={**manifest.cameras, **new})


def count_images(
    sources: Sequence[MapSource],
    chosen: Sequence[Sequence[int]],
    frames: Sequence[AnyFrame],
    registered: Collection[str],
) -> list[ImageCount]:
    """For every source, how many of the chosen frames are registered."""
    found = Counter(frame.source for frame in frames if frame.name in registered)
    return [
        ImageCount(source.label, len(indices), found[source.label])
        for source, indices in zip(sources, chosen, strict=True)
    ]


def _recording_of(source: MapSource, frames: Sequence[AnyFrame]) -> SourceRecording:
    stamps_ns = {frame.name: frame.stamp_ns for frame in frames if frame.source == source.label}
    return SourceRecording(stamps_ns, source.measurements)


def _registered_names(frames: Sequence[AnyFrame], model: pycolmap.Reconstruction) -> list[str]:
    poses = registered_poses(model)
    return [frame.name for frame in frames if frame.name in poses]


def centroids_of(describer: GlobalDescriptor) -> NDArray[np.float32]:
    """The codebook (C, D) that a map keeps for its global descriptor, empty where that is not VLAD."""
    return describer.centroids if isinstance(describer, Vlad) else np.empty((0, 0), np.float32)


def check_enough(frames: Sequence[AnyFrame]) -> None:
    """Refuse too few frames for a map. Raises MapError."""
    if len(frames) < 2:
        raise MapError(
            f"{len(frames)} usable frames are too few for a map: the camera must move and see some texture, and "
            "reference poses must cover the images' stamps"
        )
