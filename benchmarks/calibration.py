"""How well expected recalls hold: a logistic model fitted, and compared with what was found."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from benchmarks.results_file import Figures, table
from visloc_ros.apps.console import console
from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization.coverage import RecallModel
from visloc_ros.localization.seen_points import Support

BINS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
_PENALTY = 1e-4  # on squared weights: they stay finite where one place separates perfectly

Judged = Sequence[tuple[Support, bool]]
"""What a camera recognises, and whether its image was found."""


def compared(
    model: RecallModel, places: Mapping[str, Judged], fitted: Sequence[str], what: str, by_spread: bool = True
) -> tuple[Figures, str]:
    """Figures and tables of a model in use, under words on ``what`` was judged; a new fit is printed."""
    of_fitted = [one for name in fitted for one in places[name]]
    held_out = [one for name, judged in places.items() if name not in fitted for one in judged]
    best = fit_recall(of_fitted, by_spread)
    console.print(f"fitted: {best}, log-likelihood {likelihood(best, of_fitted):.4f}; in use {model}")
    body = "\n\n".join(
        (
            f"{what} The constant recall is that of the place itself.",
            places_table(model, places, fitted),
            "In the places to which the model was not fitted:",
            reliability_table(model, held_out),
        )
    )
    return {**provenance(), "model": vars(model), "reliability": reliability(model, held_out)}, body


def fit_recall(judged: Judged, by_spread: bool = True) -> RecallModel:
    """The most likely model, of those images for which anything is recognised; by their spread or without it."""
    known = [(support, found) for support, found in judged if support.points > 0.0]
    features = np.array([(1.0, np.log1p(support.points), by_spread * support.spread) for support, _ in known])
    found = np.array([float(one) for _, one in known])

    def loss(weights: Array) -> float:
        scores = features @ weights
        return float(np.mean(np.logaddexp(0.0, scores) - found * scores) + _PENALTY * (weights[1:] ** 2).sum())

    constant, per_log_points, per_spread = minimize(loss, np.zeros(3)).x.round(2).tolist()
    return RecallModel(constant, per_log_points, per_spread)


def likelihood(model: RecallModel, judged: Judged) -> float:
    """Mean logarithm of the probability of what happened."""
    expected, found = _arrays(model, judged)
    expected = np.clip(expected, 1e-6, 1.0 - 1e-6)
    return float(np.mean(np.log(np.where(found > 0.0, expected, 1.0 - expected))))


def places_table(model: RecallModel, places: Mapping[str, Judged], fitted: Sequence[str]) -> str:
    """A row for each place: what was found and expected, and Brier scores."""
    header = ("place", "images", "found", "expected", "Brier score", "of a constant recall")
    rows = []
    for name, judged in places.items():
        expected, found = _arrays(model, judged)
        share, brier = float(found.mean()), float(np.mean((expected - found) ** 2))
        label = f"{name} (fitted)" if name in fitted else name
        rows.append([label, f"{len(found)}", f"{share:.0%}", f"{expected.mean():.0%}", f"{brier:.3f}"])
        rows[-1].append(f"{share * (1.0 - share):.3f}")
    return table(header, rows)


def reliability(model: RecallModel, judged: Judged) -> list[tuple[str, int, float, float]]:
    """For each range of expected recalls the images, and the shares that were expected and found."""
    expected, found = _arrays(model, judged)
    rows = []
    for low, high in pairwise(BINS):
        inside = (expected >= low) & ((expected < high) | (high == 1.0))
        if inside.any():
            shares = float(expected[inside].mean()), float(found[inside].mean())
            rows.append((f"{low:.0%} to {high:.0%}", int(inside.sum()), *shares))
    return rows


def reliability_table(model: RecallModel, judged: Judged) -> str:
    """The same as a table."""
    rows = [
        [name, str(images), f"{expected:.0%}", f"{found:.0%}"]
        for name, images, expected, found in reliability(model, judged)
    ]
    return table(("expected recall", "images", "expected", "found"), rows)


def _arrays(model: RecallModel, judged: Judged) -> tuple[Array, Array]:
    expected = np.array([model.recall(support) for support, _ in judged])
    return expected, np.array([float(found) for _, found in judged])
