"""Tables and the picture of altered images."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from benchmarks.results_file import Figures, table
from plugins.visloc_search.benchmarks.instances.alterations import ALTERATIONS, LEVELS
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png
from visloc_ros.evaluation.search_comparison import THRESHOLDS

ALL_LEVELS = (0, *LEVELS)
GROUPS = {False: "by which settings were chosen", True: "by which none was chosen"}
COLORS = (LIGHT.anchor, LIGHT.fused, LIGHT.warn, LIGHT.bad, LIGHT.truth, LIGHT.idle)
WITHIN = " / ".join(f"{metres:g} m, {degrees:g}°" for metres, degrees in THRESHOLDS)
HEADER = ("images", "search", *(f"level {level}" for level in ALL_LEVELS), "wrong poses accepted", "error, median cm")
CLOSEST = 0
"""The threshold that summaries and the picture show."""

_BORNE = 90.0  # percent found


def as_markdown(report: Figures) -> str:
    """Means over all alterations, then the places and alterations that not all ways bear."""
    places = report["places"]
    means = [row for unseen in GROUPS for row in mean_rows(places, unseen)]
    ways = list(next(iter(places.values()))["alterations"]["darker"][0])
    details = [row for place, figures in places.items() for row in detail_rows(place, figures)]
    metres, degrees = THRESHOLDS[CLOSEST]
    return (
        f"Found within {WITHIN}, in %, by the level of the alteration; 0 is the image as it is. Wrong poses and errors "
        f"are those of all levels. A building is a room in one map with other places.\n\n{table(HEADER, means)}\n\n"
        f"Where a way finds less than {_BORNE:g} %: within {metres:g} m, {degrees:g}°, in %, at levels "
        f"{' / '.join(map(str, ALL_LEVELS))}.\n\n{table(('place, alteration', *ways), details)}"
    )


def mean_rows(places: Mapping[str, Figures], unseen: bool) -> Iterator[list[str]]:
    """A way's figures over all images of the places of a group; those that are not altered count once."""
    of_places = [[*one["alterations"].values()] for one in places.values() if one["unseen"] == unseen]
    altered = [levels for of_place in of_places for levels in of_place]
    for way in altered[0][0] if altered else ():
        unchanged = [of_place[0][0][way] for of_place in of_places]
        by_level = [unchanged, *([levels[level][way] for levels in altered] for level in LEVELS)]
        yield [f"places {GROUPS[unseen]}", way, *row_cells(by_level)]


def detail_rows(place: str, figures: Figures) -> Iterator[list[str]]:
    """The recalls of all ways by level, a row for each alteration of a place's images that some way does not bear."""
    for name, levels in figures["alterations"].items():
        recalls = {way: [recalls_of([level[way]])[CLOSEST] for level in levels] for way in levels[0]}
        if min(one for of_way in recalls.values() for one in of_way) < _BORNE:
            yield [f"{place}, {name}", *(" / ".join(f"{one:.0f}" for one in of_way) for of_way in recalls.values())]


def row_cells(by_level: Sequence[Sequence[Figures]]) -> list[str]:
    """Recalls of each level, the wrong poses of all, and the median of median errors."""
    recalls = [" / ".join(f"{one:.0f}" for one in recalls_of(figures)) for figures in by_level]
    wrong = sum(one["wrong"] for figures in by_level for one in figures)
    errors = [one["position_m"] for figures in by_level for one in figures if one["position_m"] is not None]
    return [*recalls, str(wrong), f"{100 * np.median(errors):.1f}" if errors else "–"]


def recalls_of(figures: Sequence[Figures]) -> list[float]:
    """Percentages of all images of several measurements, for each threshold."""
    weights = [one["images"] for one in figures]
    shares = [[within["percent"] for within in one["recall"]] for one in figures]
    return [float(one) for one in np.average(shares, axis=0, weights=weights)]


def draw(report: Figures) -> bytes:
    """Recall by level: a panel for each alteration, a row of them for each group of places, a curve for each way."""
    places = report["places"].values()
    with style():
        figure = new_figure(1.7 * len(ALTERATIONS), 4.2)
        panels = figure.subplots(len(GROUPS), len(ALTERATIONS), sharex=True, sharey=True)
        for row, unseen in zip(panels, GROUPS, strict=True):
            for axes, name in zip(row, ALTERATIONS, strict=True):
                found = [one["alterations"].get(name) for one in places if one["unseen"] == unseen]
                draw_panel(axes, [one for one in found if one is not None])
            row[0].set_ylabel(f"% of images, places\n{GROUPS[unseen]}")
        for axes, name in zip(panels[0], ALTERATIONS, strict=True):
            axes.set_title(name)
        for axes in panels[-1]:
            axes.set(xlabel="level", xticks=ALL_LEVELS, ylim=(0.0, 101.0))
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return to_png(figure)


def draw_panel(axes: Axes, measured: Sequence[Sequence[Mapping[str, Figures]]]) -> None:
    """One alteration in some places."""
    for color, way in zip(COLORS, measured[0][0] if measured else (), strict=False):
        recalls = [recalls_of([one[level][way] for one in measured])[CLOSEST] for level in ALL_LEVELS]
        axes.plot(ALL_LEVELS, recalls, "o-", ms=3.0, color=color, label=way, clip_on=False)
