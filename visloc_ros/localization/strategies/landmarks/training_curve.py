"""The progress of a recogniser's training: scores by step, and a section of the map card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, Labels

_BACKGROUND_MERIT = 0.1  # of a network, beside its accuracy on landmarks
_WIDTH, _HEIGHT, _MARGIN = 1000.0, 240.0, 44.0
_SHARES = (0.0, 0.5, 1.0)
_DASHES = "4 4"


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
    highest_loss = max((point.loss for point in curve), default=1.0)
    lines = (
        ("landmark keypoints recognised", "var(--accent)", [point.accuracy for point in curve]),
        ("background recognised", "var(--second)", [point.background_recall for point in curve]),
        (f"loss, in parts of {highest_loss:.2g}", "var(--muted)", [point.loss / highest_loss for point in curve]),
    )
    last_step = curve[-1].step if curve else 1
    drawn = "".join(_line([point.step / last_step for point in curve], shares, colour) for _, colour, shares in lines)
    legend = ", ".join(f'<span style="color: {colour}">{text}</span>' for text, colour, _ in lines)
    return (
        f'<section class="card"><h2>{title}</h2>\n'
        f'<p class="hint">How the training went, by held-out images: {legend}. {_in_words(best, last_step)}</p>\n'
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="Training curves">{_grid(last_step)}{drawn}'
        f"{_mark(best, last_step)}</svg></section>"
    )


def _in_words(best: CurvePoint | None, last_step: int) -> str:
    if best is None:
        return "It ended before a network was looked at."
    return (
        f"The network of step {best.step} of {last_step} was kept: it recognises {100 * best.accuracy:.0f} % of the "
        f"landmark keypoints, {100 * best.background_recall:.0f} % of the background."
    )


def _position(share_of_steps: float, share: float) -> tuple[float, float]:
    """The place of a value in the plot."""
    return _MARGIN + share_of_steps * (_WIDTH - 2 * _MARGIN), _HEIGHT - _MARGIN - share * (_HEIGHT - 1.5 * _MARGIN)


def _line(steps: Sequence[float], shares: Sequence[float], colour: str) -> str:
    places = " ".join("{:.1f},{:.1f}".format(*_position(*both)) for both in zip(steps, shares, strict=True))
    return f'<polyline points="{places}" style="fill: none; stroke: {colour}; stroke-width: 2.5"/>'


def _grid(last_step: int) -> str:
    """Lines at some shares, and the first and the last step."""
    right, bottom = _position(1.0, 0.0)
    levels = [(_position(0.0, share), share) for share in _SHARES]
    lines = "".join(f'<line x1="{x:g}" y1="{y:g}" x2="{right:g}" y2="{y:g}"/>' for (x, y), _ in levels)
    texts = "".join(f'<text x="4" y="{y + 4:g}">{100 * share:g} %</text>' for (_, y), share in levels)
    steps = (
        f'<text x="{_MARGIN:g}" y="{bottom + 24:g}">step 0</text>'
        f'<text x="{right:g}" y="{bottom + 24:g}" text-anchor="end">step {last_step}</text>'
    )
    return f'<g class="grid">{lines}{texts}{steps}</g>'


def _mark(best: CurvePoint | None, last_step: int) -> str:
    """An upright line at the network that was kept."""
    if best is None:
        return ""
    (x, low), (_, high) = (_position(best.step / last_step, share) for share in (0.0, 1.0))
    dashed = f"stroke: var(--ink); stroke-dasharray: {_DASHES}"
    return f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" style="{dashed}"/>'
