"""Structure from motion of chosen frames: their matches, and the components that explain these best.

The cameras of the frames may be others than their source says: images after a zoom, photos whose stated focal length
structure from motion loses. Each such reading is reconstructed, too, and taken if it explains more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pycolmap

from visloc_ros.core.errors import MapError
from visloc_ros.core.progress import Progress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import Matcher
from visloc_ros.mapping.collection import AnyFrame, MapFrame
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.matching import PairMatches, match_pairs, renumber, without_weak_loops
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.parallel import PerThread, count_workers
from visloc_ros.mapping.reconstruction import reconstruct_components, triangulate_at_known_poses
from visloc_ros.mapping.registration import register_views
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.mapping.stated_focal_lengths import contradicted_cameras, contradiction, explains_more, hold_cameras
from visloc_ros.mapping.zoom_changes import confirmed_changes, described, find_zoom_changes, split_cameras


@dataclass(frozen=True, eq=False)
class Structure:
    """Frames with their cameras, the components of them, the largest first, and what a user must know of these."""

    frames: Sequence[MapFrame]
    components: Sequence[Component]
    warnings: tuple[str, ...] = ()

    @property
    def largest(self) -> Component:
        """The component with the most images."""
        return self.components[0]


class StructureFromMotion:
    """Matches frames and reconstructs them, with the options of a build."""

    def __init__(
        self, config: MappingConfig, matcher: PerThread[Matcher], progress: Progress, watch: Stopwatch
    ) -> None:
        self._config = config
        self._matcher = matcher
        self._progress = progress
        self._watch = watch

    def is_at_references(self, frames: Sequence[AnyFrame]) -> bool:
        """Whether points are triangulated at the reference poses of these frames."""
        has_references = any(frame.map_from_camera is not None for frame in frames)
        return has_references and self._config.reconstruction.reference == "fixed"

    def match(self, frames: Sequence[MapFrame], pairs: Sequence[Pair]) -> PairMatches:
        """Matches of pairs of frames."""
        with self._watch("match"):
            features = [frame.features for frame in frames]
            workers = count_workers(self._config.workers)
            return match_pairs(self._matcher, features, pairs, self._progress, workers)

    def explain(self, frames: Sequence[MapFrame], matches: PairMatches) -> Structure:
        """The structure of frames, with other cameras than theirs where those explain more. Raises MapError."""
        structure = Structure(frames, self.reconstruct(frames, matches))
        if self.is_at_references(frames):
            return structure
        structure = self._with_zooms_split(structure, matches)
        return self._with_focal_lengths_as_stated(structure, matches)

    def reconstruct(self, frames: Sequence[MapFrame], matches: PairMatches) -> list[Component]:
        """Components of the frames with the cameras that they have, the largest first; one at reference poses.

        Raises MapError where no two frames can be joined.
        """
        config = self._config.reconstruction
        self._progress.stage("reconstruct", len(frames))
        with self._watch("reconstruct"):
            if self.is_at_references(frames):
                return [Component(self._reconstruct_at_references(frames, matches))]
            views = [frame.view for frame in frames]
            matches = self._without_weak_loops(frames, matches)
            return reconstruct_components(views, matches, config, on_image=self._progress.advance)

    def _with_zooms_split(self, structure: Structure, matches: PairMatches) -> Structure:
        """That with a camera of its own for the images after each zoom, if the cameras differ then."""
        frames, changes = structure.frames, find_zoom_changes(structure.frames, matches)
        while changes:
            split = split_cameras(frames, changes)
            components = self._reconstruct_anew(split, matches)
            if not components:
                return structure
            confirmed = confirmed_changes(changes, split, components[0].model)
            if len(confirmed) == len(changes):
                is_as_large = components[0].size[0] >= structure.largest.size[0]
                warnings = (described(confirmed, frames),)
                return Structure(split, components, warnings) if is_as_large else structure
            changes = [one for one in changes if one.row in {other.row for other in confirmed}]
        return structure

    def _reconstruct_anew(self, frames: Sequence[MapFrame], matches: PairMatches) -> list[Component]:
        """Components of the frames with other cameras; none where these join no two: then those there are stay."""
        try:
            return self.reconstruct(frames, matches)
        except MapError:
            return []

    def _with_focal_lengths_as_stated(self, structure: Structure, matches: PairMatches) -> Structure:
        """That with focal lengths as photos state them, if contradicting ones explain less; else it warns."""
        cameras = contradicted_cameras(structure.largest.model, structure.frames)
        if not cameras:
            return structure
        held = hold_cameras(structure.frames, cameras)
        components = self._reconstruct_anew(held, matches)
        if components and explains_more(components[0], structure.largest):
            return Structure(held, components, structure.warnings)
        return replace(structure, warnings=(*structure.warnings, contradiction(cameras, structure.largest)))

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
        features = [frame.features for frame in frames]
        return without_weak_loops(matches, features, pairs.loop_gap, pairs.loop_min_matches, sources)
