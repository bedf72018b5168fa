"""Prepares maps for the search by landmarks: the landmarks of each map, and, where asked for, a network for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, open_map
from visloc_ros.core.map_preparation import add_prepared, put_section
from visloc_ros.core.progress import Progress, SilentProgress, in_percent, track
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.guided import most_similar_within
from visloc_ros.localization.view_change import ViewOverlap
from visloc_ros.sources import FrameSource
from visloc_search.landmarks.clustering import label_points
from visloc_search.landmarks.config import (
    LANDMARKS,
    NETWORK,
    LandmarkConfig,
    PreparationConfig,
    TrainingConfig,
)
from visloc_search.landmarks.landmark_files import save_landmark_map
from visloc_search.landmarks.landmark_map import LandmarkMap, reduce_map
from visloc_search.landmarks.text_likelihood import TextLikelihood, TextSample, learn_texts
from visloc_search.landmarks.tokens import (
    BACKGROUND,
    LabelledImage,
    background_image,
    label_features,
    label_images,
    split_images,
)
from visloc_search.landmarks.training_curve import curve_section

if TYPE_CHECKING:
    from visloc_search.landmarks.backends.training import TrainedRecogniser

_HELD_OUT_EVERY = 8  # images: training ends when these are not recognised better any more


@dataclass(frozen=True, eq=False)
class Scene:
    """A map to prepare: the landmark (P,) of each of its points, and its landmark map.

    Landmark ``n`` is class ``first_class + n`` of the recogniser.
    """

    path: Path
    map: Map
    point_labels: NDArray[np.int32]
    landmarks: LandmarkMap
    first_class: int

    @property
    def figures(self) -> dict[str, int]:
        """The map in numbers."""
        return {
            "first_class": self.first_class,
            "landmarks": self.landmarks.num_landmarks,
            "points": len(self.landmarks.map.points),
            "frames": len(self.landmarks.map.images),
        }

    @property
    def point_classes(self) -> NDArray[np.int64]:
        """Class (P,) of each point of the map."""
        shifted = self.point_labels.astype(np.int64) + self.first_class
        return np.where(self.point_labels == BACKGROUND, BACKGROUND, shifted)


def prepare_landmarks(
    paths: Sequence[Path],
    config: PreparationConfig | None = None,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
    elsewhere: Sequence[Path] = (),
    texts: Mapping[str, Array] | None = None,
) -> list[Scene]:
    """Write landmarks into maps, and one network that recognises those of all maps where ``config`` names it.

    ``frames`` of the place of a single map train the network in addition to the map's own images, and may have texts;
    ``elsewhere`` are maps of other places, which are background to the network. ``texts`` (E,) by name of image are
    embeddings of the text in it; with several maps, names begin with that of the map and a slash. The next call
    continues an interrupted training. Raises ConfigError where maps do not go together, texts are of no image, or there
    is no network to train, MapError where a map cannot be used, OutputError; the maps stay as they are until everything
    is done.
    """
    config, progress = config or PreparationConfig(), progress or SilentProgress()
    is_trained = config.recogniser == NETWORK
    if not is_trained and (elsewhere or (frames is not None and not texts)):
        raise ConfigError(
            "only a network learns from more frames and from other places: set recogniser to 'network' in the file of "
            "--config, or leave --source and --elsewhere out"
        )
    scenes = _scenes(paths, config.landmarks)
    images = list(_images_of(scenes))
    if frames is not None:
        images += _labelled_frames(_only(scenes), frames, progress)
    likelihood = _learn_texts(scenes, images, texts) if texts else None
    checkpoints = paths[0].with_name(f".{paths[0].name}.{LANDMARKS}")
    trained = None
    if is_trained:
        negatives = list(_images_of_elsewhere(scenes, elsewhere))
        trained = _train(images, negatives, scenes, config.training, progress, checkpoints)
    for scene in scenes:
        add_prepared(scene.path, LANDMARKS, scene.map.manifest, partial(_write, scene, scenes, trained, likelihood))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return scenes


def _scenes(paths: Sequence[Path], config: LandmarkConfig) -> list[Scene]:
    """The maps with their landmarks, those of each numbered after those of the ones before."""
    scenes: list[Scene] = []
    for path in paths:
        map_ = open_map(path, whole=True)
        labels = label_points(map_, config)
        first_class = scenes[-1].first_class + scenes[-1].landmarks.num_landmarks if scenes else 0
        scenes.append(Scene(path, map_, labels, reduce_map(map_, labels, config), first_class))
    _check_together(scenes)
    return scenes


def _check_together(scenes: Sequence[Scene]) -> None:
    if not scenes:
        raise ConfigError("name at least one map")
    names, extractors = [scene.map.name for scene in scenes], {_extractor(scene) for scene in scenes}
    if len(set(names)) < len(names):
        raise ConfigError(f"two of the maps {', '.join(names)} have the same name: rename one, or prepare them apart")
    if len(extractors) > 1:
        raise ConfigError(f"the maps have features of {' and '.join(sorted(extractors))}: prepare them apart")


def _extractor(scene: Scene) -> str:
    """Name of the extractor of a map's features, which the reduction has checked to be known."""
    return scene.map.manifest.models["extractor"].name


def _images_of(scenes: Sequence[Scene]) -> Iterator[LabelledImage]:
    """The images of all maps; rows of points, which identify the tokens of one point, count on from map to map."""
    num_before = 0
    for scene in scenes:
        for image in label_images(scene.map, scene.point_classes):
            rows = np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + num_before)
            name = image.name if len(scenes) == 1 else f"{scene.map.name}/{image.name}"
            yield replace(image, point_rows=rows, name=name)
        num_before += len(scene.map.points)


def _images_of_elsewhere(scenes: Sequence[Scene], paths: Sequence[Path]) -> Iterator[LabelledImage]:
    """The images of other places. Raises ConfigError where another extractor made their features."""
    wanted = _extractor(scenes[0])
    for path in paths:
        map_ = open_map(path, whole=True)
        stated = map_.manifest.models.get("extractor")
        if stated is None or stated.name != wanted:
            name = "an unknown extractor" if stated is None else f"'{stated.name}'"
            raise ConfigError(f"{path} has features of {name}, the maps to prepare have those of '{wanted}'")
        yield from (background_image(image.features) for image in map_.images)


def _only(scenes: Sequence[Scene]) -> Scene:
    if len(scenes) > 1:
        raise ConfigError("frames are of one place: prepare its map alone with them")
    return scenes[0]


def _labelled_frames(scene: Scene, frames: FrameSource, progress: Progress) -> Iterator[LabelledImage]:
    """Frames whose pose the search by retrieval finds, with labels of their keypoints by the map."""
    finder, engine = PointFinder(scene.map), AnchorEngine(scene.map)
    for frame in track(progress, "looking at frames", frames, len(frames)):
        query = engine.extract(frame)
        anchor = engine.solve(query)
        if isinstance(anchor, AnchorPose):
            camera = anchor.calibration.camera if anchor.calibration else frame.camera
            rows = finder.find(query.features, camera, anchor.map_from_camera)
            classes = np.append(scene.point_classes, BACKGROUND)[rows]  # NO_POINT is the last row
            yield label_features(query.features, classes, rows, frame.name)


def _train(
    images: Sequence[LabelledImage],
    negatives: Sequence[LabelledImage],
    scenes: Sequence[Scene],
    config: TrainingConfig,
    progress: Progress,
    checkpoints: Path,
) -> TrainedRecogniser:
    from visloc_search.landmarks.backends.training import train_recogniser

    taught, held_out = split_images(images, _HELD_OUT_EVERY)
    checkpoints.mkdir(parents=True, exist_ok=True)
    report = in_percent(progress, "training")
    return train_recogniser(taught, negatives, held_out, _num_classes(scenes), config, report, checkpoints)


def _learn_texts(
    scenes: Sequence[Scene], images: Sequence[LabelledImage], texts: Mapping[str, Array]
) -> TextLikelihood:
    """The likelihoods of all maps' landmarks by texts. Raises ConfigError where no text is of an image."""
    if not any(image.name in texts for image in images):
        raise ConfigError(
            f"none of the {len(texts)} texts is of an image of the place: name them as images are, such as "
            f"'{images[0].name}'"
        )
    counts = [np.bincount(image.labels, minlength=_num_classes(scenes))[1:] for image in images]
    return learn_texts([TextSample(row, texts.get(image.name)) for row, image in zip(counts, images, strict=True)])


def _num_classes(scenes: Sequence[Scene]) -> int:
    return 1 + sum(scene.landmarks.num_landmarks for scene in scenes)


def _write(
    scene: Scene,
    scenes: Sequence[Scene],
    trained: TrainedRecogniser | None,
    likelihood: TextLikelihood | None,
    folder: Path,
) -> Mapping[str, Any]:
    """Write the files of one map, and give their entry for its manifest."""
    save_landmark_map(folder, scene.landmarks)
    if likelihood is not None:
        own = slice(scene.first_class, scene.first_class + scene.landmarks.num_landmarks)
        likelihood.of_rows(own).save(folder)
    entry = {**scene.figures, "maps": [one.map.name for one in scenes]}
    if trained is None:
        return entry
    num_bytes = trained.save(folder, _extractor(scene))
    put_section(folder.parent, LANDMARKS, curve_section("Search by landmarks", trained.curve, trained.best))
    scores = {} if trained.best is None else asdict(trained.best)
    return {**entry, "recogniser": {"bytes": num_bytes, **scores}}


_REFERENCES = 20  # map images that share most of the view: their points are not hidden
_MAX_ERROR_PX = 3.0
_MIN_SIMILARITY = 0.7  # dot product of unit descriptors


class PointFinder:
    """Finds the map points that keypoints show; made once for a map."""

    def __init__(self, map_: Map) -> None:
        self._map = map_
        self._overlap = ViewOverlap(map_)

    def find(self, features: LocalFeatures, camera: pycolmap.Camera, map_from_camera: SE3) -> NDArray[np.int32]:
        """Rows (N,) of the points that project to the keypoints and look like them, NO_POINT where none does."""
        rows = np.full(len(features), NO_POINT, np.int32)
        images = [self._map.images[row] for row in self._overlap.rank(map_from_camera, camera, _REFERENCES)]
        if not images or not len(features):
            return rows
        seen = [np.flatnonzero(image.point_rows != NO_POINT) for image in images]
        points = np.concatenate([image.point_rows[kept] for image, kept in zip(images, seen, strict=True)])
        known = np.concatenate([image.features.descriptors[kept] for image, kept in zip(images, seen, strict=True)])
        projected = project(camera, map_from_camera.inverse @ self._map.points[points])
        inside = np.isfinite(projected).all(axis=1)
        similarity = np.asarray(features.descriptors, np.float32) @ known[inside].astype(np.float32).T
        best, scores = most_similar_within(
            features.keypoints, projected[inside].astype(np.float32), _MAX_ERROR_PX, similarity
        )
        found = scores >= _MIN_SIMILARITY
        rows[found] = points[inside][best[found]]
        return rows
