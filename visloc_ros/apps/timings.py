"""Times of a frame's stages, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from visloc_ros.apps.console import console, make_table
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation import RunRecord
from visloc_ros.evaluation.summary import percentiles

Spread = Mapping[str, float]
Timings = Annotated[bool, typer.Option("--timings", help="Also print what each stage of a frame takes: median, 95 %.")]


def stage_spreads(frames: Iterable[Mapping[str, float]]) -> dict[str, Spread]:
    """Median and 95th percentile by stage, over the frames in which it ran, and of their sums as ``total``."""
    collected: dict[str, list[float]] = {}
    for stages_ms in frames:
        for stage, milliseconds in [*stages_ms.items(), ("total", sum(stages_ms.values()))]:
            collected.setdefault(stage, []).append(milliseconds)
    ordered = [*(stage for stage in collected if stage != "total"), *(["total"] if collected else [])]
    return {stage: percentiles(collected[stage]) or {} for stage in ordered}


def print_spreads(spreads: Mapping[str, Spread]) -> None:
    """Print a row for each stage, in milliseconds."""
    numbers = ("median ms", "95 % ms")
    table = make_table(("stage", *numbers), numbers)
    for stage, spread in spreads.items():
        table.add_row(Text(stage, "bold"), f"{spread['p50']:.1f}", f"{spread['p95']:.1f}")
    console.print(table)


def print_processor_time(record: RunRecord) -> None:
    """Print the processor time of each stage: milliseconds a frame, and its share at the rate of the camera."""
    stamps_ns = [frame.stamp_ns for frame in record.frames]
    rate_hz = (len(stamps_ns) - 1) * NANOSECONDS / max(stamps_ns[-1] - stamps_ns[0], 1)
    numbers = ("processor ms a frame", f"% of a processor at {rate_hz:.0f} Hz")
    table = make_table(("stage", *numbers), numbers)
    for stage, taken in {**record.processor_ms, "total": sum(record.processor_ms.values())}.items():
        table.add_row(Text(stage, "bold"), f"{taken:.1f}", f"{0.1 * taken * rate_hz:.0f}")
    console.print(table)


def odometry_spreads(times: Mapping[str, Any]) -> dict[str, Spread]:
    """The rows of ``lifecycle``: the times of what happens once, and the times for every frame."""
    once = {name: times[f"{name}_ms"] for name in ("init", "finalize")}
    each = {name: times[f"{name}_ms"] for name in ("decode", "preprocess", "inference", "settle", "total")}
    known = {name: spread for name, spread in each.items() if spread}
    start, end = ({"p50": once[name], "p95": once[name]} for name in ("init", "finalize"))
    return {"init, once": start, **known, "finalize, once": end}
