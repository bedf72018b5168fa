"""Makes an atlas of maps: places each in the frame of the first, and indexes the images of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visloc_ros.core.atlas import INDEX_NAME, join_maps, write_index
from visloc_ros.core.atlas_file import ATLAS_NAME, PlacedMap, read_atlas_file, version_of, write_atlas_file
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.manifest import Manifest, file_info, write_manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_writer import check_output, staged_folder
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.similarity_estimate import SimilarityEstimate
from visloc_ros.features import VladConfig
from visloc_ros.localization.map_uncertainty import measure_map_uncertainty
from visloc_ros.mapping.merging.map_links import find_links, place_along
from visloc_ros.mapping.merging.merger import MapIndex, advise, check_features, index_of


@dataclass(frozen=True)
class AtlasSummary:
    """An atlas that was made: its maps, and advice."""

    maps: tuple[PlacedMap, ...]
    advice: tuple[str, ...]


def make_atlas(
    paths: Sequence[Path],
    output: Path,
    transforms: Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AtlasSummary:
    """Write an atlas of maps, which lie beside the folder ``output`` and stay as they are, in the frame of the first.

    ``transforms`` is a file like ``atlas.yaml`` that places some of them; the others are placed by images that they
    share with these, or else by geotags. Raises OutputError when ``output`` is taken or not writable, ConfigError where
    the maps do not lie beside it, MapError when a map is broken, when the maps are of other features, when
    nothing links them, or when links contradict each other.
    """
    names = _names(paths, output)
    check_output(output, overwrite=overwrite)
    maps = [open_map(path) for path in paths]
    for other in maps[1:]:
        check_features(maps[0], other)
    given = _given(transforms, names)
    found = find_links(maps, names, given, progress or SilentProgress())
    by_row = place_along(found.links, names, given)
    if len(by_row) < len(maps):
        raise MapError(_words_of_parts(names, by_row, found.refused))
    versions = [version_of(map_.manifest) for map_ in maps]
    frames = [map_.manifest.frame_uuid for map_ in maps]
    placed = [PlacedMap(name, *by_row[row], versions[row], frames[row]) for row, name in enumerate(names)]
    with staged_folder(output, overwrite=overwrite) as folder:
        _write(folder, output.resolve().name, maps, placed)
    return AtlasSummary(tuple(placed), tuple(advise(maps)))


def _names(paths: Sequence[Path], output: Path) -> list[str]:
    """The names of the maps' folders. Raises ConfigError."""
    if len(paths) < 2:
        raise ConfigError("one map alone is no atlas: name two or more")
    elsewhere = next((path for path in paths if path.resolve().parent != output.resolve().parent), None)
    if elsewhere is not None:
        raise ConfigError(f"{elsewhere} does not lie beside {output}, as the maps of an atlas must: move one of them")
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError("a map is named twice: leave it out once")
    return names


def _given(path: Path | None, names: Sequence[str]) -> dict[int, tuple[SimilarityEstimate, str]]:
    """The places of maps by row that a file gives, and that of the first. Raises MapError, ConfigError."""
    given = {} if path is None else {one.name: one for one in read_atlas_file(path)}
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise ConfigError(f"{path} places '{unknown}', which is none of these maps: {', '.join(names)}")
    first = given.get(names[0])
    if first is not None and not np.allclose(first.atlas_from_map @ np.eye(3), np.eye(3)):
        raise ConfigError(f"{path} moves '{names[0]}', in whose frame the atlas is: name the map first that stays")
    places = {names.index(one.name): (one.estimate, f"given in {path.name}") for one in given.values() if path}
    return {**places, 0: (SimilarityEstimate.exact(Sim3.identity()), "its own frame")}


def _words_of_parts(names: Sequence[str], placed: Mapping[int, object], refused: Sequence[str]) -> str:
    together = ", ".join(f"'{names[row]}'" for row in sorted(placed))
    others = ", ".join(f"'{name}'" for row, name in enumerate(names) if row not in placed)
    words = (
        f"nothing links {others} with {together}: film a passage that shows what both show and extend a map by it "
        "(visloc build-map VIDEO --add-to MAP), state how they lie to each other (--transforms), or leave them apart"
    )
    return ". ".join([words, *refused])


def _write(folder: Path, name: str, maps: Sequence[Map], placed: Sequence[PlacedMap]) -> None:
    joined = join_maps(name, maps[0].manifest, maps, placed)
    index = _index(joined, maps)
    write_index(folder, np.stack(list(index.descriptors.values())), index.centroids)
    write_atlas_file(folder, placed)
    manifest = _describe(name, maps, placed, index)
    write_manifest(
        folder,
        replace(
            manifest,
            uncertainty=measure_map_uncertainty(joined),
            files={name: file_info(folder / name) for name in (ATLAS_NAME, INDEX_NAME)},
        ),
    )


def _index(joined: Map, maps: Sequence[Map]) -> MapIndex:
    """One index of all images: that of the maps where one network has made all, else VLAD with a common codebook."""
    models = {map_.manifest.models.get("global") for map_ in maps}
    if len(models) == 1 and not any(map_.vlad_centroids.size for map_ in maps):
        joined = replace(joined, global_descriptors=np.concatenate([map_.global_descriptors for map_ in maps]))
    return index_of(joined, VladConfig())


def _describe(name: str, maps: Sequence[Map], placed: Sequence[PlacedMap], index: MapIndex) -> Manifest:
    """The manifest of the atlas: what its frame is known by is that of the first map."""
    first, every = maps[0].manifest, [map_.manifest for map_ in maps]
    return replace(
        first,
        name=name,
        created_from=", ".join(one.name for one in placed),
        models={**first.models, "global": index.model},
        merged=(),
        cameras={
            f"{one.name}/{key}": camera
            for one, of in zip(placed, every, strict=True)
            for key, camera in of.cameras.items()
        },
        counts={key: sum(one.counts.get(key, 0) for one in every) for key in first.counts},
        reprojection_error_px=max(one.reprojection_error_px for one in every),
        prepared={},
    )
