"""What searches of maps by landmarks are counted by, and how maps are prepared for them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.results_file import Figures
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation.integrity import PoseAccuracy
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS, PreparationConfig
from visloc_ros.localization.strategies.landmarks.preparation import prepare_landmarks
from visloc_ros.localization.strategies.landmarks.text_likelihood import TEXTS_NAME
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig


def count_answers(answers: Iterable[tuple[AnchorPose | Rejection, SE3]]) -> Figures:
    """How many answers are right, wrong and rejections, by their true poses."""
    outcomes, reasons = Counter[str](), Counter[str]()
    for answer, truth in answers:
        if isinstance(answer, Rejection):
            reasons[answer.reason.value] += 1
        else:
            outcomes["right" if is_right(answer, truth) else "wrong"] += 1
    rejected = sum(reasons.values())
    return {
        "queries": rejected + sum(outcomes.values()),
        "right": outcomes["right"],
        "wrong": outcomes["wrong"],
        "rejected": rejected,
        "reasons": dict(reasons.most_common()),
    }


def is_right(pose: AnchorPose, truth: SE3) -> bool:
    """Whether a pose is close to the truth, or as far off as it says where that is little."""
    return PoseAccuracy.of(pose.map_from_camera, pose.covariance, truth).is_right


def prepared_apart(path: Path, minutes: float) -> Map:
    """The map with landmarks that a recogniser of its own knows; prepared where it is not, which takes minutes."""
    (map_,) = prepared_together([path], minutes)
    return map_


def prepared_together(paths: Sequence[Path], minutes: float, texts: Mapping[str, Array] | None = None) -> list[Map]:
    """The maps with landmarks that one recogniser knows; prepared where they are not, which takes minutes.

    ``texts`` are embeddings by name of image.
    """
    maps = [open_map(path) for path in paths]
    names = [map_.name for map_ in maps]
    are_told = texts is None or all(TEXTS_NAME in map_.prepared.get(LANDMARKS, {}) for map_ in maps)
    if not are_told or any(map_.manifest.prepared.get(LANDMARKS, {}).get("maps") != names for map_ in maps):
        config = PreparationConfig(training=TrainingConfig(max_minutes=minutes))
        prepare_landmarks(paths, config, texts=texts)
        maps = [open_map(path) for path in paths]
    return maps
