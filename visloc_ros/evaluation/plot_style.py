"""The style of figures: one palette for light and dark, and conversion to small SVGs that follow the page's theme."""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from visloc_ros.core.errors import OutputError
from visloc_ros.core.types import State, Support


@dataclass(frozen=True)
class Palette:
    """Colours by role, as hexadecimal codes that differ from one another."""

    ink: str
    muted: str
    grid: str
    surface: str
    page: str
    truth: str
    fused: str
    anchor: str
    good: str
    warn: str
    bad: str
    idle: str
    points: str


LIGHT = Palette(
    ink="#18212f",
    muted="#5f6b7c",
    grid="#e4e8ee",
    surface="#ffffff",
    page="#f4f6f9",
    truth="#33415c",
    fused="#0b8f86",
    anchor="#6f4fd8",
    good="#0a9182",
    warn="#e0921f",
    bad="#d23f57",
    idle="#b4becb",
    points="#97a3b4",
)
DARK = Palette(
    ink="#e8edf4",
    muted="#98a5b8",
    grid="#2a3443",
    surface="#161d28",
    page="#0e131b",
    truth="#d5deec",
    fused="#2cc4b8",
    anchor="#a892ff",
    good="#2dc3b6",
    warn="#f0ab45",
    bad="#f2667c",
    idle="#566275",
    points="#97a3b5",
)

STATE_COLOR = {
    State.UNINITIALIZED: LIGHT.idle,
    State.INITIALIZING: LIGHT.points,
    State.LOCALIZED: LIGHT.good,
    State.DEGRADED: LIGHT.warn,
    State.LOST: LIGHT.bad,
}
SUPPORT_COLOR = {
    Support.ANCHOR: LIGHT.anchor,
    Support.MAP_TRACKING: LIGHT.fused,
    Support.ODOMETRY: LIGHT.truth,
}

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "text.color": LIGHT.ink,
    "text.parse_math": False,
    "axes.labelcolor": LIGHT.muted,
    "axes.edgecolor": LIGHT.grid,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": LIGHT.ink,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LIGHT.grid,
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT.grid,
    "ytick.color": LIGHT.grid,
    "xtick.labelcolor": LIGHT.muted,
    "ytick.labelcolor": LIGHT.muted,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "visloc_ros",
}


def style() -> AbstractContextManager[None]:
    """Context in which figures are made: ``with style(): ...``."""
    return rc_context(STYLE)  # type: ignore[arg-type,unused-ignore]


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure with a constrained layout, free of any global plotting state."""
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="none")


def say_nothing_to_show(axes: Axes, words: str) -> None:
    """Leave a plot empty, and say why."""
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.grid(False)
    axes.text(0.5, 0.5, words, ha="center", va="center", color=LIGHT.muted, transform=axes.transAxes)


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Draw a figure on the light surface."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None}, facecolor=LIGHT.surface, dpi=dpi)
    return buffer.getvalue()


def write_picture(path: Path, content: bytes) -> None:
    """Write a drawn picture. Raises OutputError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def to_svg(figure: Figure, name: str) -> str:
    """Draw a figure as an SVG element for an HTML page: scalable, themed by CSS variables, ids prefixed by ``name``."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata=no_metadata, dpi=200, transparent=True)
    element = buffer.getvalue()
    element = element[element.index("<svg") :]
    return _apply_theme(_prefix_ids(_strip_head(element), name))


def _strip_head(element: str) -> str:
    """Remove parts that an HTML page does not need: fixed size, XML namespaces, a style sheet for the whole page."""
    head, bracket, body = element.partition(">")
    head = re.sub(r'\s(?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r' d="[^"]*"', _shorten_path, body)
    return head + bracket + body.replace("xlink:href=", "href=")


def _shorten_path(attribute: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute.group()).replace("\n", "")


def _prefix_ids(element: str, name: str) -> str:
    """Keep ids of several figures on one page apart."""
    element = re.sub(r'\bid="', f'id="{name}-', element)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", element)


def _apply_theme(element: str) -> str:
    """Replace palette colours by the CSS variables of the page, and the drawn font by the page's."""
    for role, color in asdict(LIGHT).items():
        element = element.replace(color, f"var(--{role})")
    element = re.sub(r"font-family: [^;\"]*;? ?", "", element)
    return re.sub(r"font: ((?:\w+ )*[\d.]+px) [^;\"]*", r"font: \1 var(--font)", element)
