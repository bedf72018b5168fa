"""The progress of a recogniser's training: scores by step, and a section of the map card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_search.curve_drawing import Curve, draw_curves, legend, loss_curve
from visloc_search.landmarks.tokens import BACKGROUND, Float32, Labels

_BACKGROUND_MERIT = 0.1  # of a network, beside its accuracy on landmarks


@dataclass(frozen=True)
class CurvePoint:
    """The state of training at a step: seconds so far, mean loss since the last point, scores on held-out images.

    Scores are shares in [0, 1] of tokens: ``accuracy`` of landmark tokens, ``macro_accuracy`` the mean of that over
    landmarks, ``background_precision`` of tokens called background, ``background_recall`` of true ones.
    """

    step: int
    seconds: float
    loss: float
    accuracy: float
    macro_accuracy: float
    background_precision: float
    background_recall: float

    @property
    def merit(self) -> float:
        """The criterion for the best network: accuracy on landmarks, and some of that on background, as in the loss."""
        return self.accuracy + _BACKGROUND_MERIT * self.background_recall


def score_recognition(probabilities: Sequence[Float32], labels: Sequence[Labels]) -> dict[str, float]:
    """Scores, by name of ``CurvePoint``, of the most probable classes of images (N, C) by true labels (N,).

    They are 1 where there is nothing to get wrong.
    """
    truth = np.concatenate([*labels, np.empty(0, np.int64)])
    found = np.concatenate([*(one.argmax(axis=1) for one in probabilities), np.empty(0, np.int64)])
    right = found == truth
    landmarks = np.unique(truth[truth != BACKGROUND])
    each = [float(right[truth == one].mean()) for one in landmarks]
    return {
        "accuracy": _share(right[truth != BACKGROUND]),
        "macro_accuracy": float(np.mean(each)) if each else 1.0,
        "background_precision": _share(right[found == BACKGROUND]),
        "background_recall": _share(right[truth == BACKGROUND]),
    }


def _share(right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(right.mean()) if len(right) else 1.0


def curve_section(title: str, curve: Sequence[CurvePoint], best: CurvePoint | None) -> str:
    """A section of the map card, HTML: the curve, with the network that was kept."""
    curves = (
        Curve("landmark keypoints recognised", "var(--accent)", [point.accuracy for point in curve]),
        Curve("background recognised", "var(--second)", [point.background_recall for point in curve]),
        loss_curve([point.loss for point in curve]),
    )
    steps = [point.step for point in curve]
    words = _in_words(best, steps[-1] if steps else 1)
    return (
        f'<section class="card"><h2>{title}</h2>\n'
        f'<p class="hint">How the training went, by held-out images: {legend(curves)}. {words}</p>\n'
        f"{draw_curves(steps, curves, None if best is None else best.step)}</section>"
    )


def _in_words(best: CurvePoint | None, last_step: int) -> str:
    if best is None:
        return "It ended before a network was looked at."
    return (
        f"The network of step {best.step} of {last_step} was kept: it recognises {100 * best.accuracy:.0f} % of the "
        f"landmark keypoints, {100 * best.background_recall:.0f} % of the background."
    )
