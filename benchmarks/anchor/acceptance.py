"""Fits ``localization.acceptance``, the probability that a pose is right, to right and wrong poses.

Run: python -m benchmarks.anchor.acceptance --data ../shared/data --markdown results/anchor.md

In every place, frames that show it and frames that do not are searched with nothing rejected: by matching, and around
true and false predictions. A pose is right within 25 cm and 5 degrees of the truth, or, far from the map, within four
of its own standard deviations. Figures are for poses of scenes that the model was not fitted to. Maps, rooms, features
and trials are kept in the work folder; a trial takes about half a second.
"""

import argparse
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.anchor.acceptance_places import MappedPlace, Planted, add_options, mapped_places, planted
from benchmarks.places import FeatureCache
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from testing.corruptions import false_prior, perturbed
from testing.integrity import PoseAccuracy
from visloc_ros.apps.console import console
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.acceptance import MATCHED, SEARCHED, AcceptanceModel, InlierSupport
from visloc_ros.localization.descriptor_index import rank_by_descriptor
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, Query
from visloc_ros.localization.guided import GuidedSearch
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.localization.view_change import ViewOverlap

SECTION = "Probability that a pose is right"
NEVER = 2**31
GOOD_PRIOR = (0.1, 3.0)  # metres, degrees
DEFAULT_RISK = AnchorConfig().max_risk
FEWEST_INLIERS = 6
FEW_KEYPOINTS = 100
PENALTY = 0.03  # on squared weights of standardised features: they are few, and the trials are many
RISKS = (0.05, 0.02, 0.001)
HEADER = ("poses", "largest risk", "right ones accepted", "wrong ones accepted", "of these, of another place")
NOTE = (
    "Probabilities are of models fitted to the other scenes; in calibration errors right and wrong poses count equally."
)
BINS = np.array([0.0, 0.02, 0.1, 0.3, 0.7, 0.9, 0.98, 1.0])


@dataclass(frozen=True)
class Trial:
    """A pose, what it rests on, and how accurate it is; ``accuracy`` is None where the image shows another place."""

    place: str
    family: str
    group: str
    image: str
    way: str
    support: InlierSupport
    accuracy: PoseAccuracy | None

    @property
    def shows_place(self) -> bool:
        """Whether the image shows the mapped place."""
        return self.accuracy is not None

    @property
    def is_right(self) -> bool:
        """Whether the pose is right."""
        return self.accuracy is not None and self.accuracy.is_right


def main() -> None:
    """Fit both models to all poses, and report how good they are for the other scenes."""
    arguments = parse_arguments()
    names = [one.place.name for one in mapped_places(arguments.data, arguments.work)]
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        trials = [trial for some in pool.map(partial(try_place, arguments=arguments), names) for trial in some]
    rows: list[list[str]] = []
    words = NOTE
    for title, present, ways in (("matched", MATCHED, {"matched"}), ("searched", SEARCHED, {"searched", "predicted"})):
        chosen = [trial for trial in trials if trial.way in ways]
        model, held_out = fit(chosen), probabilities_held_out(chosen)
        console.print(f"{title}: {rounded(model)}, in use {present}")
        rows += accepted_rows(title, chosen, held_out)
        words += in_words(title, chosen, held_out)
    body = f"{table(HEADER, rows)}\n\n{words} {consistency(trials)}"
    write_section(arguments.markdown, SECTION, provenance(), body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_options(parser)
    return parser.parse_args()


def try_place(name: str, arguments: argparse.Namespace) -> list[Trial]:
    """All trials in one place, in a process of its own; those of an earlier run where there are any."""
    path = arguments.work / "trials" / f"{name}.jsonl"
    if not path.exists():
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        places = mapped_places(arguments.data, arguments.work)
        mapped = next(one for one in places if one.place.name == name)
        search = OpenSearch(mapped, arguments.work)
        lines = [
            json.dumps(asdict(trial))
            for one in planted(mapped, places, arguments.data, arguments.work)
            for trial in search.trials(one)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
    values = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [trial_from(value) for value in values]


def trial_from(value: dict[str, Any]) -> Trial:
    """Read a trial as it was written."""
    accuracy = value["accuracy"] and PoseAccuracy(**value["accuracy"])
    return Trial(**value | {"support": InlierSupport(**value["support"]), "accuracy": accuracy})


class OpenSearch:
    """Searches a map as the anchor engine does, refusing nothing."""

    def __init__(self, mapped: MappedPlace, work: Path) -> None:
        self._mapped, self._rng = mapped, np.random.default_rng(0)
        self._config = replace(AnchorConfig(), stop_inliers=NEVER)
        self._map: Map = mapped.place.open_map(work / "maps")
        engine = AnchorEngine(self._map, self._config)
        self._features = FeatureCache(work / "features", engine)
        self._collector = EvidenceCollector(self._map, engine.matcher, self._config)
        self._map_uncertainty = map_uncertainty(self._map, self._config.pose)
        self._guided, self._overlap = GuidedSearch(self._map, self._config), ViewOverlap(self._map)
        self._describer, self._descriptors = global_index(self._map, self._config.global_descriptor)

    def trials(self, planted_: Planted) -> Iterator[Trial]:
        """Trials with all keypoints, and with only the strongest ones, as small or plain images have."""
        features = self._features(f"{planted_.key}/{planted_.frame.name}", planted_.frame)
        yield from self._trials(planted_, features)
        if len(features) > FEW_KEYPOINTS:
            few = replace(planted_, group=f"{planted_.group}, few keypoints")
            yield from self._trials(few, strongest(features, FEW_KEYPOINTS))

    def _trials(self, planted_: Planted, features: LocalFeatures) -> Iterator[Trial]:
        """The pose by matching, that of the points around it, and those around a true and a false prediction."""
        frame = planted_.frame
        query = Query(frame, features, Stopwatch())
        descriptor = self._describer.describe(frame.image, features)
        rows = rank_by_descriptor(descriptor, self._descriptors, self._config.top_k)
        evidence = self._collector.gather(query, [rows])
        yield from self._judged(planted_, "matched", evidence)
        if evidence.solution is not None:
            yield from self._around(planted_, query, "searched", evidence.solution.map_from_camera)
        if planted_.truth is not None:
            yield from self._around(planted_, query, "predicted", perturbed(planted_.truth, self._rng, *GOOD_PRIOR))
        yield from self._around(planted_, query, "predicted", false_prior(self._map, self._rng, planted_.truth))

    def _around(self, planted_: Planted, query: Query, way: str, pose: SE3) -> Iterator[Trial]:
        references = self._overlap.rank(pose, query.frame.camera, self._config.guided.references)
        if references:
            yield from self._judged(planted_, way, self._guided.gather(query, references, pose))

    def _judged(self, planted_: Planted, way: str, evidence: Evidence) -> Iterator[Trial]:
        if evidence.support is None or evidence.num_inliers < FEWEST_INLIERS:
            return
        assert evidence.solution is not None
        mapped, frame = self._mapped, planted_.frame
        accuracy = None if planted_.truth is None else self._accuracy(evidence, planted_.truth)
        yield Trial(mapped.place.name, mapped.family, planted_.group, frame.name, way, evidence.support, accuracy)

    def _accuracy(self, evidence: Evidence, truth: SE3) -> PoseAccuracy:
        solution = evidence.solution
        assert solution is not None
        points = self._map.points[evidence.correspondences.point_rows[solution.inliers]]
        pose, own = solution.map_from_camera, solution.own_covariance
        of_map = self._map_uncertainty.of_pose(pose, own, solution.shared_covariance, points)
        return PoseAccuracy.of(pose, own + of_map, truth)


def strongest(features: LocalFeatures, count: int) -> LocalFeatures:
    """The features of highest score, in their order."""
    rows = np.sort(np.argsort(-features.scores, kind="stable")[:count])
    return LocalFeatures(
        features.keypoints[rows], features.scores[rows], features.descriptors[rows], features.image_size
    )


def fit(trials: list[Trial]) -> AcceptanceModel:
    """The weights of maximum likelihood; right and wrong poses count equally.

    No weight says that less spread, thickness or agreement is better, whatever the trials say.
    """
    right = np.array([trial.is_right for trial in trials], float)
    parts = [
        Standardised.of(np.array([one.support.chance_features for one in trials])),
        Standardised.of(np.array([one.support.thing_features for one in trials])),
    ]
    weight = np.where(right > 0, 0.5 / right.sum(), 0.5 / (1 - right).sum()) * len(trials)
    first = parts[0].width
    signs = [None, *[(0, None)] * (first - 1), None, *[(0, None)] * (parts[1].width - 1)]

    def cost(values: Array) -> tuple[float, Array]:
        exponents = parts[0].rows @ values[:first], parts[1].rows @ values[first:]
        log_right = sum(-np.logaddexp(0.0, -exponent) for exponent in exponents)
        wrong = np.maximum(-np.expm1(log_right), 1e-12)
        slope = weight * ((1 - right) * np.exp(log_right) / wrong - right)
        slopes = values.copy()
        slopes[[0, first]] = 0.0
        gradient = [part.rows.T @ (slope * expit(-exponent)) for part, exponent in zip(parts, exponents, strict=True)]
        total = -(weight * (right * log_right + (1 - right) * np.log(wrong))).sum() + PENALTY * slopes @ slopes
        return float(total), np.concatenate(gradient) + 2 * PENALTY * slopes

    start = np.zeros(first + parts[1].width)
    start[first] = 2.0  # at first nothing is thought to be a single thing
    bounds = [(None, None) if sign is None else sign for sign in signs]
    values = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 5000}).x
    return AcceptanceModel(parts[0].restored(values[:first]), parts[1].restored(values[first:]))


@dataclass(frozen=True, eq=False)
class Standardised:
    """Features of mean 0 and deviation 1 after a constant: ``rows`` (N, F + 1)."""

    rows: Array
    mean: Array
    deviation: Array

    @staticmethod
    def of(features: Array) -> "Standardised":
        """Standardise features (N, F)."""
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        rows = np.column_stack((np.ones(len(features)), (features - mean) / deviation))
        return Standardised(rows, mean, deviation)

    @property
    def width(self) -> int:
        """Number of weights, that of the constant included."""
        return int(self.rows.shape[1])

    def restored(self, values: Array) -> tuple[float, ...]:
        """The weights of the features as they are."""
        slopes = values[1:] / self.deviation
        return (float(values[0] - slopes @ self.mean), *slopes.tolist())


def probabilities_held_out(trials: list[Trial]) -> Array:
    """Probability (N,) that each pose is right, by the model that was fitted to all other scenes."""
    found = np.empty(len(trials))
    families = np.array([trial.family for trial in trials])
    for family in np.unique(families):
        model = fit([trial for trial in trials if trial.family != family])
        found[families == family] = [model.probability(one.support) for one in trials if one.family == family]
    return found


def accepted_rows(title: str, trials: list[Trial], probabilities: Array) -> list[list[str]]:
    """Accepted poses at each risk."""
    right = np.array([trial.is_right for trial in trials])
    shows = np.array([trial.shows_place for trial in trials])
    return [[title, f"{risk:g}", *shares(probabilities >= 1 - risk, right, shows)] for risk in RISKS]


def in_words(title: str, trials: list[Trial], probabilities: Array) -> str:
    """Which wrong poses are accepted by default, and how far probabilities are from how often poses are right."""
    right = np.array([trial.is_right for trial in trials])
    groups = np.array([group_of(trial) for trial in trials])
    accepted = probabilities >= 1 - DEFAULT_RISK
    wrong = [
        f"{int((accepted & ~right & (groups == name)).sum())} of {int((~right & (groups == name)).sum())} ({name})"
        for name in dict.fromkeys(groups[accepted & ~right])
    ]
    off = 100 * sum(one.weight * abs(one.predicted - one.happened) for one in reliability(right, probabilities))
    return (
        f" Poses {title}: wrong ones accepted at the default risk of {DEFAULT_RISK:g}: {', '.join(wrong) or 'none'}; "
        f"expected calibration error {off:.1f} points."
    )


def consistency(trials: list[Trial]) -> str:
    """Squared errors of right poses over their own covariance, place by place."""
    nees: dict[str, list[float]] = {}
    for trial in trials:
        if trial.group == "the place" and trial.accuracy is not None and trial.is_right:
            nees.setdefault(group_of(trial), []).append(trial.accuracy.nees)
    means = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in nees.items())
    return f"Squared errors of right poses over their covariances, mean (6 is exact, more overconfident): {means}."


def group_of(trial: Trial) -> str:
    """The group of a trial: its place where the image shows it as it is, else its group in all places."""
    if trial.group != "the place":
        return trial.group
    return re.sub(r"room_\d+", "rooms", trial.place)


def shares(accepted: NDArray[np.bool_], right: NDArray[np.bool_], shows: NDArray[np.bool_]) -> list[str]:
    """How many right poses, wrong poses, and poses of other places are accepted, of how many."""
    kinds = (right, ~right, ~shows)
    return [f"{int((accepted & kind).sum())} of {int(kind.sum())}" for kind in kinds]


@dataclass(frozen=True)
class Bin:
    """Poses with a probability between two limits: their number and share, mean probability, and the share right."""

    low: float
    high: float
    count: int
    weight: float
    predicted: float
    happened: float


def reliability(right: NDArray[np.bool_], probabilities: Array) -> Iterator[Bin]:
    """Bin by bin: its limits, poses, their mean probability, and the share that is right were half of all right."""
    weight = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum())
    for low, high in zip(BINS, islice(BINS, 1, None), strict=False):
        inside = (probabilities >= low) & ((probabilities < high) | (high == BINS[-1]))
        if inside.any():
            predicted = np.average(probabilities[inside], weights=weight[inside])
            happened = np.average(right[inside], weights=weight[inside])
            share = weight[inside].sum()
            yield Bin(float(low), float(high), int(inside.sum()), float(share), float(predicted), float(happened))


def rounded(model: AcceptanceModel) -> AcceptanceModel:
    """The model with weights as they are written down."""
    chance, thing = (tuple(round(value, 3) for value in part) for part in astuple(model))
    return AcceptanceModel(chance, thing)


if __name__ == "__main__":
    main()
