"""The curves of a training as a drawing for the map card: shares over steps, and the step that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _MARGIN = 1000.0, 240.0, 44.0
_SHARES = (0.0, 0.5, 1.0)
_DASHES = "4 4"


@dataclass(frozen=True)
class Curve:
    """A line of the drawing: its words in the legend, its colour (CSS), and its shares in [0, 1] by point."""

    words: str
    colour: str
    shares: Sequence[float]


def loss_curve(losses: Sequence[float]) -> Curve:
    """Losses in parts of the highest one."""
    highest = max(losses, default=1.0)
    return Curve(f"loss, in parts of {highest:.2g}", "var(--muted)", [loss / highest for loss in losses])


def legend(curves: Sequence[Curve]) -> str:
    """The names of curves in their colours, HTML."""
    return ", ".join(f'<span style="color: {one.colour}">{one.words}</span>' for one in curves)


def draw_curves(steps: Sequence[int], curves: Sequence[Curve], best_step: int | None) -> str:
    """An SVG element of curves with a point at each of the steps, with a mark at the best one."""
    last = steps[-1] if steps else 1
    lines = "".join(_line([step / last for step in steps], one.shares, one.colour) for one in curves)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="Training curves">{_grid(last)}{lines}'
        f"{'' if best_step is None else _mark(best_step / last)}</svg>"
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


def _mark(share_of_steps: float) -> str:
    """An upright line at the network that was kept."""
    (x, low), (_, high) = (_position(share_of_steps, share) for share in (0.0, 1.0))
    dashed = f"stroke: var(--ink); stroke-dasharray: {_DASHES}"
    return f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" style="{dashed}"/>'
