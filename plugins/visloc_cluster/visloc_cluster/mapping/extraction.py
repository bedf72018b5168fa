"""Tasks that read sources: which frames become map images, and what these show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from visloc_cluster.mapping.chosen_frames import ChosenFrames, FrameKey, open_recording
from visloc_cluster.mapping.needs import SMALL, WITH_NETWORKS
from visloc_cluster.mapping.shards import CONTENTS, Shard, pack_frames
from visloc_ros.core.errors import SourceError
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.features import GlobalDescriptor, LocalExtractor, Vlad
from visloc_ros.mapping.collection import FrameCollector
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.map_models import check_weights, load_extractor
from visloc_ros.mapping.map_sources import CameraGroups, MapSource, TimeSpan
from visloc_ros.mapping.recordings import Recording, check_unchanged
from visloc_ros.mapping.selection import select_frames

_SAMPLED_SHARDS = 32  # that train VLAD: evenly spread, so that no worker holds all features


@dataclass(frozen=True)
class Origin:
    """A recording, the fingerprint of its files, and its label among the sources of a build."""

    recording: Recording
    fingerprint: str
    label: str

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for the arguments of a task: what the source is."""
        return {"fingerprint": self.fingerprint, "label": self.label}

    def to_places(self) -> dict[str, Any]:
        """Plain values for the places of a task: where the source lies."""
        return {"recording": self.recording.to_mapping()}

    @staticmethod
    def of(arguments: Mapping[str, Any]) -> Origin:
        """The origin of a task's arguments and places."""
        return Origin(Recording.from_mapping(arguments["recording"]), **arguments["origin"])

    def open(self) -> MapSource:
        """Open the source. Raises as ``open_recording`` does."""
        return replace(open_recording(self.recording, self.fingerprint), label=self.label)

    def check(self) -> None:
        """Raise SourceError if the source has changed while it was read."""
        check_unchanged(self.recording, self.fingerprint)


def select_task(origin: Origin, config: MappingConfig) -> Task:
    """The choice of a recording's frames."""
    arguments = {"origin": origin.to_mapping(), "selection": config.selection.to_mapping()}
    return Task(SELECT, arguments, places=origin.to_places())


def extract_tasks(
    origin: Origin, config: MappingConfig, models: Mapping[str, str], selected: Artifact, size: int
) -> list[Task]:
    """The features of a recording's chosen frames, ``size`` of them in a shard; ``models`` are hashes of weights."""
    stamps_ns, names = selected["stamps_ns"].tolist(), selected["names"].tolist()
    values = config.to_mapping()
    options = {name: values[name] for name in ("features", "global_descriptor", "frame", "reconstruction")}
    stage = EXTRACT.on_device_of(config.features)
    return [
        Task(
            stage,
            {
                "origin": origin.to_mapping(),
                "config": options,
                "models": dict(models),
                "stamps_ns": stamps_ns[begin : begin + size],
                "names": names[begin : begin + size],
            },
            places=origin.to_places(),
        )
        for begin in range(0, len(stamps_ns), size)
    ]


def train_task(config: MappingConfig, shards: Sequence[str]) -> Task:
    """The codebook of VLAD, from shards all over the sources."""
    places = np.linspace(0, len(shards) - 1, min(_SAMPLED_SHARDS, len(shards))).round().astype(int)
    return Task(TRAIN, {"vlad": config.vlad.to_mapping()}, tuple(shards[place] for place in places))


def describe_tasks(shards: Sequence[str], codebook: Sequence[str]) -> list[Task]:
    """Global descriptors, and what shards hold, without the features; no ``codebook`` leaves a network's."""
    return [Task(DESCRIBE, {}, (shard, *codebook)) for shard in shards]


def _select(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    origin, span, keys = Origin.of(arguments), TimeSpan(), list[FrameKey]()
    source = origin.open()
    config = MappingConfig.from_mapping({"selection": arguments["selection"]})
    frames = _noting(span.watch(source.frames), keys)
    chosen = [keys[row] for row in select_frames(frames, len(source.frames), config.selection)]
    origin.check()
    return {
        "stamps_ns": np.array([key.stamp_ns for key in chosen], np.int64),
        "names": np.array([key.name for key in chosen], dtype=np.str_),
        "span_ns": np.array([span.begin_ns, span.end_ns], np.int64),
    }


def _noting(frames: Iterable[Frame], keys: list[FrameKey]) -> Iterator[Frame]:
    for frame in frames:
        keys.append(FrameKey(frame.stamp_ns, frame.name))
        yield frame


def _extract(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    origin = Origin.of(arguments)
    source = origin.open()
    keys = [FrameKey(*one) for one in zip(arguments["stamps_ns"], arguments["names"], strict=True)]
    chosen = ChosenFrames(source.frames, keys)
    part = MapSource(source.label, chosen, source.references, CameraGroups(source.frames.calibrated))
    config = MappingConfig.from_mapping({**arguments["config"], "workers": 1})
    options = {name: arguments["config"][name] for name in ("features", "global_descriptor")}
    extractor, describer = _load_extractor(json.dumps(options), json.dumps(arguments["models"]))
    for role, model in (("extractor", extractor), ("global", describer)):
        if model is not None:
            check_weights(model.info, arguments["models"][role])
    collector = FrameCollector(extractor, describer, config, SilentProgress(), Stopwatch())
    frames = collector.extract([part], [range(len(keys))])
    origin.check()
    if chosen.found < len(keys):
        raise SourceError(
            f"'{source.label}' gave {chosen.found} of {len(keys)} chosen frames when it was read again: it must not "
            "change while a map is built"
        )
    return pack_frames(frames, extractor.descriptor_dim)


def _train(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    config = MappingConfig.from_mapping({"vlad": arguments["vlad"]}).vlad
    share = -(-config.max_samples // len(inputs))
    samples = []
    for row, shard in enumerate(inputs):
        rng = np.random.default_rng([config.seed, row])
        descriptors = shard["descriptors"]
        samples.append(descriptors[rng.permutation(len(descriptors))[:share]])
    return {"centroids": Vlad.train(samples, config).centroids}


def _describe(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    arrays = inputs[0]
    contents = {name: arrays[name] for name in CONTENTS}
    if len(inputs) == 1:
        return {**contents, "global": arrays.get("global", np.empty((0, 0), np.float32))}
    shard, vlad = Shard(arrays), Vlad(inputs[1]["centroids"])
    vectors = [vlad.describe_features(shard.features(row)) for row in range(len(shard))]
    return {**contents, "global": np.array(vectors, np.float32).reshape(-1, vlad.centroids.size)}


@lru_cache(maxsize=1)
def _load_extractor(options: str, _: str) -> tuple[LocalExtractor, GlobalDescriptor | None]:
    return load_extractor(MappingConfig.from_mapping(json.loads(options)))


SELECT = Stage("select", _select, SMALL)
EXTRACT = Stage("extract", _extract, WITH_NETWORKS)
TRAIN, DESCRIBE = Stage("train", _train, SMALL), Stage("describe", _describe, SMALL)
