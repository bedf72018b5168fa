"""Tasks that match pairs of images and verify them, each with few shards; the view graph that comes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_cluster.mapping.geometries import pack_matches, read_geometries
from visloc_cluster.mapping.needs import WITH_NETWORKS
from visloc_cluster.mapping.shards import Shard
from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.execution.store import Artifact, ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.features import Matcher
from visloc_ros.mapping.config import MappingConfig, PairConfig, ReconstructionConfig
from visloc_ros.mapping.map_models import check_weights, load_matcher
from visloc_ros.mapping.mappers import quiet_colmap
from visloc_ros.mapping.matching import support_loop
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.reconstruction import verify_pairs
from visloc_ros.mapping.sfm_database import DATABASE_NAME, SfmImage, add_views, write_database

_VERIFICATION = ("min_matches", "max_epipolar_error_px", "min_match_motion_px", "seed")

Place = tuple[int, int]
"""An image by the place of its shard and its row there."""


@dataclass(frozen=True, eq=False)
class ViewGraph:
    """Verified pairs: rows of images (E, 2), inliers (E,), which matching task (E,) has each, and where there (E,)."""

    pairs: NDArray[np.int64]
    inliers: NDArray[np.int64]
    tasks: NDArray[np.int64]
    places: NDArray[np.int64]

    def among(self, rows: Sequence[int]) -> NDArray[np.intp]:
        """Rows of the pairs between these images."""
        inside = np.isin(self.pairs, rows).all(axis=1)
        return np.flatnonzero(inside)


def group_pairs(pairs: Sequence[Pair], places: Sequence[Place], size: int) -> list[list[int]]:
    """Rows of pairs in groups of about ``size``: those of the same two shards together, those of one shard in a row."""

    def shards(row: int) -> tuple[int, int]:
        i, j = pairs[row]
        return places[i][0], places[j][0]

    groups: list[list[int]] = [[]]
    for _, rows in groupby(sorted(range(len(pairs)), key=lambda row: (*shards(row), *pairs[row])), key=shards):
        groups[-1] += rows
        if len(groups[-1]) >= size:
            groups.append([])
    return [group for group in groups if group]


def match_task(
    pairs: Sequence[Pair],
    least: Sequence[int],
    places: Sequence[Place],
    shards: Sequence[str],
    config: MappingConfig,
    models: Mapping[str, str],
    *,
    verified: bool,
) -> Task:
    """Match pairs, and keep what one two-view geometry explains where they are to be ``verified``.

    A pair needs at least so many matches (``least``) to count at all.
    """
    used = sorted({places[row][0] for pair in pairs for row in pair})
    local = {shard: number for number, shard in enumerate(used)}
    options = config.reconstruction.to_mapping()
    images = [[local[places[row][0]], places[row][1]] for pair in pairs for row in pair]
    arguments = {
        "pairs": [[*images[2 * k], *images[2 * k + 1], int(least[k])] for k in range(len(pairs))],
        "matcher": config.matcher.to_mapping(),
        "extractor": config.features.name,
        "models": dict(models),
        "verification": {name: options[name] for name in _VERIFICATION} if verified else None,
    }
    stage = MATCH.on_device_of(config.matcher)
    return Task(stage, arguments, tuple(shards[shard] for shard in used))


def least_matches(pairs: Sequence[Pair], sources: Sequence[str], config: PairConfig) -> list[int]:
    """How many matches each pair needs: more where a wrong one would be a wrong loop (``without_weak_loops``)."""
    return [config.loop_min_matches if j - i >= config.loop_gap or sources[i] != sources[j] else 0 for i, j in pairs]


def read_view_graph(
    store: ArtifactStore, keys: Sequence[str], groups: Sequence[Sequence[int]], pairs: Sequence[Pair]
) -> ViewGraph:
    """The pairs that passed, by the results of the matching tasks of these groups, in order."""
    found = [np.empty((0, 5), np.int64)]
    for number, (key, group) in enumerate(zip(keys, groups, strict=True)):
        counts = store.read(key)["counts"]
        kept = np.flatnonzero(counts)
        of_group = np.array([pairs[row] for row in group], np.int64)
        found.append(np.column_stack([of_group[kept], counts[kept], np.full(len(kept), number), kept]))
    every = np.vstack(found)
    every = every[np.lexsort((every[:, 1], every[:, 0]))]
    return ViewGraph(every[:, :2], every[:, 2], every[:, 3], every[:, 4])


def _match(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    options = json.dumps([arguments["matcher"], arguments["extractor"]])
    matcher = _load_matcher(options, json.dumps(arguments["models"]))
    check_weights(matcher.info, arguments["models"]["matcher"])
    matches: list[NDArray[np.int32]] = [np.empty((0, 2), np.int32)] * len(arguments["pairs"])
    views: dict[Place, SfmImage] = {}
    order = sorted(range(len(matches)), key=lambda row: (arguments["pairs"][row][0], arguments["pairs"][row][2], row))
    first: tuple[int, Shard] | None = None
    for (a, b), rows in groupby(order, key=lambda row: (arguments["pairs"][row][0], arguments["pairs"][row][2])):
        first = first if first is not None and first[0] == a else (a, Shard(inputs[a]))
        second = first[1] if a == b else Shard(inputs[b])
        for row_a, of_image in groupby(rows, key=lambda row: arguments["pairs"][row][1]):
            together = list(of_image)
            partners = [arguments["pairs"][row][3] for row in together]
            found = matcher.match_many(first[1].features(row_a), [second.features(row_b) for row_b in partners])
            for row, row_b, one in zip(together, partners, found, strict=True):
                least = arguments["pairs"][row][4]
                enough = support_loop(first[1].features(row_a), second.features(row_b), one.pairs, least)
                matches[row] = one.pairs if enough else one.pairs[:0]
                views[b, row_b] = _view(second, b, row_b)
            views[a, row_a] = _view(first[1], a, row_a)
    if arguments["verification"] is None:
        return pack_matches(matches)
    return _verified(views, arguments["pairs"], matches, ReconstructionConfig.from_mapping(arguments["verification"]))


def _view(shard: Shard, place: int, row: int) -> SfmImage:
    return SfmImage(f"{place}/{row}", shard.features(row).keypoints, shard.cameras[row])


def _verified(
    views: Mapping[Place, SfmImage],
    pairs: Sequence[Sequence[int]],
    matches: Sequence[NDArray[np.int32]],
    config: ReconstructionConfig,
) -> Artifact:
    order = {place: number for number, place in enumerate(sorted(views))}
    numbers = [(order[a, row_a], order[b, row_b]) for a, row_a, b, row_b, _ in pairs]
    blank = pycolmap.Reconstruction()
    image_ids = add_views(blank, [views[place] for place in order])
    with quiet_colmap(), temporary_folder("match") as folder:
        database = folder / DATABASE_NAME
        write_database(database, blank, image_ids, dict(zip(numbers, matches, strict=True)))
        verify_pairs(database, replace(config, threads=1))
        return read_geometries(database, [(image_ids[i], image_ids[j]) for i, j in numbers])


@lru_cache(maxsize=1)
def _load_matcher(options: str, _: str) -> Matcher:
    matcher, extractor = json.loads(options)
    return load_matcher(MappingConfig.from_mapping({"matcher": matcher}).matcher, extractor)


MATCH = Stage("match", _match, WITH_NETWORKS)
