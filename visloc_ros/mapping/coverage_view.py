"""The coverage of a map as an SVG element for its card."""

from __future__ import annotations

import numpy as np

from visloc_ros.localization.coverage import Coverage, CoverageCell, recall_colour
from visloc_ros.mapping.top_view import WIDTH, Canvas, draw_grid, fit_canvas

_LEAST_SIDE = 26.0  # of a cell in SVG units in which a number can be read
_BRIGHT = 0.6  # recalls whose colour needs dark numbers


def draw_coverage(coverage: Coverage, unit: str) -> str:
    """Draw cells coloured by the recall at any heading, with numbers and the recalls by heading where these fit."""
    cells = list(coverage.cells())
    corners = np.array([[cell.x + sign, cell.y + sign] for cell in cells for sign in (-coverage.cell, coverage.cell)])
    canvas = fit_canvas(corners, corners)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {canvas.height:.0f}" role="img" aria-label="Where images can be localized">',
        draw_grid(canvas, unit),
        *(_draw_cell(canvas, cell, coverage.cell, unit) for cell in cells),
        *(f'<circle class="taken" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in canvas.to_svg(coverage.cameras)),
        "</svg>",
    ]
    return "\n".join(parts)


def _draw_cell(canvas: Canvas, cell: CoverageCell, side: float, unit: str) -> str:
    ((x, y),) = canvas.to_svg(np.array([[cell.x, cell.y]]))
    size = side * canvas.scale
    title = f"<title>{cell.x:.4g}, {cell.y:.4g} {unit}: {cell}</title>"
    square = (
        f'<rect x="{x - size / 2:.1f}" y="{y - size / 2:.1f}" width="{size:.1f}" height="{size:.1f}" '
        f'fill="{recall_colour(cell.recall)}">{title}</rect>'
    )
    if size < _LEAST_SIDE:
        return square
    rose = " ".join(f"{x + 0.5 * size * right:.1f},{y - 0.5 * size * up:.1f}" for right, up in cell.rose)
    ink = "#18212f" if cell.recall > _BRIGHT else "#fff"
    number = f'<text x="{x:.1f}" y="{y + 5:.1f}" fill="{ink}">{100.0 * cell.recall:.0f}</text>'
    return f'{square}<polygon points="{rose}"/>{number}'
