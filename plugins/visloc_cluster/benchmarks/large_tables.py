"""Tables of large maps: how what they cost grows, and what follows for maps that nobody has built here."""

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.results_file import Figures, table

ON_PAPER = (10_000, 100_000, 1_000_000)
DOLLARS_A_CORE_HOUR = 0.04
"""Of a rented processor with 4 GB."""
SIZE_HEADER = ("images", "registered", "time", "core-seconds an image", "memory of the caller", "of a worker",
               "error, median", "largest")  # fmt: skip
ENGINE_HEADER = ("engine", "registered", "time", "error, median", "largest", "from serial, at most")
STAGE_HEADER = ("stage", "tasks", "core-seconds", "of a task, longest", "memory of a worker", "grows as")
PAPER_HEADER = (
    "images",
    "core-hours",
    "cost",
    "on 16 processors",
    "on 256",
    "of it in one process",
    "memory of the caller",
)
AT_ONCE = ("extract", "describe", "pair", "match", "reconstruct", "align", "join", "adjust")
"""Stages of many tasks; all others run in one process."""


def all_tables(sizes: Mapping[str, Figures], engines: Mapping[str, Figures], killed: Figures) -> str:
    """The tables of what was measured."""
    parts = []
    if engines:
        parts.append(table(ENGINE_HEADER, (_engine_row(name, one) for name, one in engines.items())))
    if killed:
        parts.append(
            f"A worker was killed in each of {', '.join(killed['stages'])} ({killed['images']} images): "
            f"{'the same images' if killed['same_images'] else 'OTHER IMAGES'}, poses {1e3 * killed['apart_m']:.3f} mm "
            f"and {killed['apart_deg']:.4f}° apart at most. The same build again took {killed['again_s']:.1f} s."
        )
    if sizes:
        parts.append(table(SIZE_HEADER, map(_size_row, sizes.values())))
    if len(sizes) > 1:
        every = list(sizes.values())
        times = exponent(every, [one["wall_s"] for one in every])
        spent = exponent(every, [sum(seconds_by_stage(one).values()) for one in every])
        parts.append(
            f"Time grows as n^{times:.2f}, core-seconds as n^{spent:.2f}. By stage, for {every[-1]['images']} images:"
        )
        parts.append(table(STAGE_HEADER, _stage_rows(every)))
        parts.append(
            "On paper: stages of many equal tasks grow in proportion, that of pairs with the square, the others by "
            f"their exponent between the last two sizes, between 1 and 2; a core-hour costs ${DOLLARS_A_CORE_HOUR:g}."
        )
        parts.append(table(PAPER_HEADER, (_paper_row(every, count) for count in ON_PAPER)))
    return "\n\n".join(parts)


def exponent(sizes: list[Figures], values: list[float]) -> float:
    """The exponent of growth with the number of images, by least squares of the logarithms."""
    counts = [one["images"] for one in sizes]
    return float(np.polyfit(np.log(counts), np.log(np.maximum(values, 1e-3)), 1)[0])


def seconds_by_stage(figures: Figures) -> dict[str, float]:
    """Seconds of processors by stage, those of the caller alone among them."""
    costs = {stage: cost["core_s"] for stage, cost in figures["costs"].items()}
    return costs | {stage: spent for stage, spent in figures["caller_s"].items() if stage not in costs}


def _stage_rows(sizes: list[Figures]) -> Iterator[list[str]]:
    last = sizes[-1]
    for stage, spent in seconds_by_stage(last).items():
        grows = exponent(sizes, [seconds_by_stage(one).get(stage, 0.0) for one in sizes])
        cost = last["costs"].get(stage)
        own = (
            [str(cost["tasks"]), f"{spent:.0f}", f"{cost['longest_s']:.1f} s", f"{cost['peak_mb']:.0f} MB"]
            if cost
            else []
        )
        yield [stage, *(own or ["caller", f"{spent:.0f}", "", ""]), f"n^{grows:.2f}"]


def _paper_row(sizes: list[Figures], count: int) -> list[str]:
    last = sizes[-1]
    growth = count / last["images"]
    total, alone = 0.0, 0.0
    for stage, spent in seconds_by_stage(last).items():
        measured = exponent(sizes[-2:], [seconds_by_stage(one).get(stage, 0.0) for one in sizes[-2:]])
        grows = 2.0 if stage == "pair" else 1.0 if stage in AT_ONCE else min(max(1.0, measured), 2.0)
        later = spent * growth**grows
        total += later
        alone += 0.0 if stage in AT_ONCE else later
    memory = [one["caller_mb"] for one in sizes]
    slope, base = np.polyfit([one["images"] for one in sizes], memory, 1)
    hours = [(total - alone) / processors + alone for processors in (16, 256)]
    return [
        f"{count:,}", f"{total / 3600:.1f}", f"${DOLLARS_A_CORE_HOUR * total / 3600:,.2f}",
        *(f"{one / 3600:.1f} h" for one in hours), f"{alone / 3600:.1f} h", f"{(base + slope * count) / 1e3:.1f} GB",
    ]  # fmt: skip


def _size_row(figures: Figures) -> list[str]:
    core_s = sum(cost["core_s"] for cost in figures["costs"].values())
    workers = max(cost["peak_mb"] for cost in figures["costs"].values())
    return [
        str(figures["images"]), f"{figures['registered']}", f"{figures['wall_s']:.0f} s",
        f"{core_s / figures['images']:.2f}", f"{figures['caller_mb']:.0f} MB", f"{workers:.0f} MB", *_errors(figures),
    ]  # fmt: skip


def _engine_row(name: str, figures: Figures) -> list[str]:
    share = f"{figures['registered']} of {figures['images']} ({figures['registered'] / figures['images']:.1%})"
    apart = f"{1e3 * figures['apart_m']:.3f} mm, {figures['apart_deg']:.4f}°"
    same = "" if figures["same_images"] else "; OTHER IMAGES"
    return [name, share, f"{figures['wall_s']:.0f} s", *_errors(figures), apart + same]


def _errors(figures: Figures) -> list[str]:
    return [f"{1e2 * figures[f'{which}_m']:.2f} cm, {figures[f'{which}_deg']:.2f}°" for which in ("median", "largest")]
