"""Prepares maps for the search by instances: the instances of points and images, and a network that recognises them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visloc_ros.core.map import open_map
from visloc_ros.core.map_preparation import add_prepared, put_section
from visloc_ros.core.progress import Progress, SilentProgress, in_percent
from visloc_ros.localization.strategy import NOTHING_ELSE, Examples
from visloc_search.instances.card import instance_section
from visloc_search.instances.config import INSTANCES, InstanceConfig
from visloc_search.instances.instance_files import save_instances
from visloc_search.instances.instance_map import InstanceMap
from visloc_search.instances.label_masks import picture_of
from visloc_search.instances.labelled_map import LabelledMap, label_map
from visloc_search.instances.recognition import InstanceRecogniser
from visloc_search.instances.samples import MaskedImage
from visloc_search.instances.similarity_margin import least_similarity
from visloc_search.instances.styles import read_styles
from visloc_search.instances.training_scores import TrainingPoint, point_accuracy

if TYPE_CHECKING:
    from visloc_search.instances.backends.training import Training


def prepare_instances(
    path: Path,
    config: InstanceConfig | None = None,
    progress: Progress | None = None,
    examples: Examples = NOTHING_ELSE,
) -> Mapping[str, Any]:
    """Write the instances of a map, and a network that recognises them, into it, and give the figures.

    Of ``examples`` maps of elsewhere show no instance, ``masks`` replace the map's own instances, and ``styles`` are
    learned with the masks of their images. The next call continues an interrupted training. Raises ConfigError,
    SourceError for images and masks, MapError where a map cannot be used, OutputError; the map stays as it is until
    everything is done.
    """
    config, progress = config or InstanceConfig(), progress or SilentProgress()
    masks = examples.masks or (Path(config.masks) if config.masks else None)
    labelled = label_map(open_map(path, whole=True), config, progress, masks, examples.styles)
    checkpoints = path.with_name(f".{path.name}.{INSTANCES}")
    training = _train(labelled, list(_of_elsewhere(examples.elsewhere)), config, progress, checkpoints)
    instances, recogniser = _described(labelled, training)
    figures = _figures(labelled, instances, recogniser, training.best_point)
    write = partial(_write, labelled, instances, training, config, figures)
    add_prepared(path, INSTANCES, labelled.map.manifest, write)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return figures


def _of_elsewhere(paths: Sequence[Path]) -> Iterator[MaskedImage]:
    """The images of other places, without any instance."""
    for path in paths:
        map_ = open_map(path, whole=True)
        for image in map_.images:
            picture = picture_of(map_, image)
            if picture is not None:
                yield MaskedImage(f"{map_.name}/{image.name}", picture, np.zeros(picture.shape[:2], np.uint16))


def _train(
    labelled: LabelledMap,
    elsewhere: Sequence[MaskedImage],
    config: InstanceConfig,
    progress: Progress,
    checkpoints: Path,
) -> Training:
    from visloc_search.instances.backends.training import Taught, train

    taught = Taught(
        [*(labelled.masked[place] for place in labelled.learned), *elsewhere],
        [labelled.images[place] for place in labelled.held_out],
        [labelled.masked[place].picture for place in labelled.held_out],
        labelled.point_labels,
        int(labelled.point_labels.max()) + 1,
    )
    checkpoints.mkdir(parents=True, exist_ok=True)
    report = in_percent(progress, "training")
    return train(taught, read_styles(config.training.styles), config.training, report, checkpoints)


def _described(labelled: LabelledMap, training: Training) -> tuple[InstanceMap, InstanceRecogniser]:
    """The instances as the trained network sees them in the map's images, and that network."""
    from visloc_search.instances.backends.recogniser import NetworkRecogniser

    recogniser = NetworkRecogniser(training.network)
    found = [recogniser.recognise(one.picture) for one in labelled.masked]
    num_classes = int(labelled.point_labels.max()) + 1
    count = len(labelled.map.images)
    areas = np.zeros((count, num_classes), np.float32)
    descriptors = np.zeros((count, len(found[0].descriptor)), np.float32)
    areas[list(labelled.rows)] = [one.areas(num_classes) for one in found]
    descriptors[list(labelled.rows)] = [one.descriptor for one in found]
    least = least_similarity(labelled, found, recogniser)
    return InstanceMap(labelled.point_labels, areas, descriptors, least), recogniser


def _figures(
    labelled: LabelledMap, instances: InstanceMap, recogniser: InstanceRecogniser, best: TrainingPoint | None
) -> Mapping[str, Any]:
    """The prepared map in numbers, for its manifest."""
    masks = [recogniser.recognise(labelled.masked[place].picture).mask for place in labelled.learned]
    images = [labelled.images[place] for place in labelled.learned]
    own = [one.mask for one in labelled.masked]
    return {
        "instances": instances.num_classes - 1,
        "points_percent": round(100.0 * float((labelled.point_labels > 0).mean()), 1),
        "coverage_percent": round(100.0 * float(np.mean([(mask > 0).mean() for mask in own])), 1),
        "consistent_percent": round(100.0 * point_accuracy(labelled.images, own, labelled.point_labels), 1),
        "recognised_percent": round(100.0 * point_accuracy(images, masks, labelled.point_labels), 1),
        "held_out_percent": round(100.0 * best.accuracy, 1) if best else 0.0,
        "steps": best.step if best else 0,
        "seconds": round(best.seconds, 1) if best else 0.0,
    }


def _write(
    labelled: LabelledMap,
    instances: InstanceMap,
    training: Training,
    config: InstanceConfig,
    figures: Mapping[str, Any],
    folder: Path,
) -> Mapping[str, Any]:
    """Write the files and the section of the card of one map, and give the entry for its manifest."""
    from visloc_search.instances.backends.recogniser import network_bytes

    save_instances(folder, instances, network_bytes(training.network), config, labelled.map.manifest)
    masked = labelled.masked
    section = instance_section(
        [one.picture for one in masked],
        [one.mask for one in masked],
        [one.name for one in masked],
        figures,
        training.curve,
    )
    put_section(folder.parent, INSTANCES, section)
    return figures
