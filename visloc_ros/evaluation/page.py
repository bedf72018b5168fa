"""The report page: its texts and figures. The template only lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from visloc_ros import __version__
from visloc_ros.evaluation import figures
from visloc_ros.evaluation.plot_style import DARK, LIGHT, Palette, style, to_svg
from visloc_ros.evaluation.records import RunRecord
from visloc_ros.evaluation.series import RunSeries
from visloc_ros.evaluation.table import UNKNOWN, Row, format_length, summary_rows
from visloc_ros.evaluation.tiles import key_tiles

GOOD_SHARE = 0.95


def render_page(record: RunRecord, series: RunSeries, summary: Mapping[str, Any], config_yaml: str) -> str:
    """One self-contained HTML page: inline SVG and CSS, no script, nothing loaded from other places."""
    template_folder = files("visloc_ros.evaluation") / "templates"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((template_folder / "report.html.j2").read_text(encoding="utf-8"))
    style_sheet = environment.from_string((template_folder / "report.css").read_text(encoding="utf-8"))
    return template.render(
        title=record.title,
        css=Markup(style_sheet.render(light=_variables(LIGHT), dark=_variables(DARK))),
        lead=_lead(summary),
        verdict=_verdict(summary),
        alert=_alert(summary),
        tiles=key_tiles(summary),
        figures=_figures(record, series, summary),
        top_view_hint=_top_view_hint(record),
        error_hint=_error_hint(summary),
        consistency=_consistency(summary),
        recall=_recall(summary),
        outcomes=_outcomes(summary["anchors"]),
        rows=[_table_row(row) for row in summary_rows(summary)],
        notes=record.notes,
        config=config_yaml,
        version=__version__,
    )


def _lead(summary: Mapping[str, Any]) -> str:
    words = [f"{summary['frames']} frame{'' if summary['frames'] == 1 else 's'}"]
    if summary["duration_s"]:
        words.append(f"{summary['duration_s']:.1f} s of images")
    if summary["wall_s"] is not None:
        words.append(f"processed in {summary['wall_s']:.1f} s")
    words.append("compared with ground truth" if summary["has_ground_truth"] else "without ground truth")
    return " · ".join(words)


def _verdict(summary: Mapping[str, Any]) -> dict[str, str]:
    share = summary["localized_share_after_first_fix"]
    if share is None:
        return {"tone": "bad", "words": "Not localized"}
    if share >= GOOD_SHARE:
        return {"tone": "good", "words": f"Localized, {100 * share:.1f} % after the first fix"}
    return {"tone": "warn", "words": f"Localized in part, {100 * share:.1f} % after the first fix"}


def _alert(summary: Mapping[str, Any]) -> dict[str, str] | None:
    """Plain words for a run without any pose, and where to look."""
    if summary["localized_frames"] > 0:
        return None
    if summary["frames"] == 0:
        return {"headline": "There were no frames.", "advice": "The source gave no image; check its path and topic."}
    return {
        "headline": "No frame was localized.",
        "advice": _advice(summary["anchors"], summary["unlocalized_by_reason"], summary["advice"]),
    }


def _advice(anchors: Mapping[str, Any], reasons: Mapping[str, int], lines: Sequence[str]) -> str:
    rejected = anchors["rejected"]
    if not anchors["accepted"] and not rejected:
        return "No anchor was ever tried: the anchor engine did not answer during this run."
    if not anchors["accepted"]:
        tries = f"None of {sum(rejected.values())} tries found the camera in the map."
        return " ".join([tries, *(f"{line}." for line in lines)])
    refused = anchors["refused_by_fusion"] or reasons
    return (
        f"{anchors['accepted']} anchors were found, but fusion never got a pose from them ({_list_counts(refused)}). "
        "The camera may have moved too little to fix the scale, or odometry was lost."
    )


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items()) or "no reason given"


def _top_view_hint(record: RunRecord) -> str:
    return f"{len(record.map_points)} map points, {len(record.map_camera_positions)} map images."


def _error_hint(summary: Mapping[str, Any]) -> str:
    if not summary["has_ground_truth"]:
        return "No ground truth was given, so only the uncertainty that fusion reports can be shown."
    return "Against ground truth in the map's frame, as the poses came."


def _consistency(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of normalised errors, compared with those of consistent covariances."""
    found = {"poses against ground truth (NEES)": summary["nees"]}
    found |= {f"{source} against the prediction (NIS)": nis for source, nis in summary["nis"].items()}
    return [_consistency_row(label, one) for label, one in found.items() if one is not None]


def _consistency_row(label: str, found: Mapping[str, Any]) -> dict[str, str]:
    low, high = found["mean_band"]
    tone = "bad" if found["mean"] > high else "good" if found["mean"] >= low else "warn"
    return {
        "label": label,
        "count": str(found["count"]),
        "mean": f"{found['mean']:.1f}",
        "mean_band": f"{low:.1f} to {high:.1f}",
        "share": f"{100 * found['share_in_band']:.1f} %",
        "above": f"{100 * found['share_above_band']:.1f} %",
        "tone": tone,
    }


def _recall(summary: Mapping[str, Any]) -> dict[str, Any]:
    frames, anchors = summary["recall"], summary["anchor_recall"]
    rows = [
        {
            "threshold": f"{format_length(row['within_m'], 'm')}, {row['within_deg']:g}°",
            "frames": _percent(frames, i),
            "anchors": _percent(anchors, i),
        }
        for i, row in enumerate(frames or anchors or [])
    ]
    return {"queries": "frames, and of all anchor tries", "rows": rows}


def _percent(rows: list[dict[str, float]] | None, index: int) -> str:
    return UNKNOWN if rows is None else f"{rows[index]['percent']:.1f} %"


def _outcomes(anchors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Anchors by outcome: taken, refused by fusion, or rejected, by reason."""
    refused, rejected = anchors["refused_by_fusion"], anchors["rejected"]
    total = anchors["accepted"] + sum(rejected.values())
    counts = [("accepted and used", anchors["accepted"] - sum(refused.values()), "good")]
    counts += [(f"refused by fusion: {reason}", count, "warn") for reason, count in refused.items()]
    counts += [(reason, count, "bad") for reason, count in rejected.items()]
    return [
        {"label": label, "count": count, "tone": tone, "percent": round(100 * count / total, 1)}
        for label, count, tone in counts
        if total
    ]


def _table_row(row: Row) -> dict[str, str]:
    tone = {True: "good judged", False: "bad judged", None: ""}[row.met]
    return {"label": row.label, "value": row.value, "target": row.target or "", "tone": tone}


def _figures(record: RunRecord, series: RunSeries, summary: Mapping[str, Any]) -> dict[str, Markup]:
    with style():
        drawn = {
            "top_view": figures.top_view_figure(record, series),
            "errors": figures.errors_figure(record, series),
            "consistency": figures.consistency_figure(record, series),
            "latencies": figures.latencies_figure(record),
            "stages": figures.stages_figure(summary),
        }
        return {name: Markup(to_svg(figure, name)) for name, figure in drawn.items()}


def _variables(palette: Palette) -> Markup:
    return Markup(" ".join(f"--{role}: {color};" for role, color in asdict(palette).items()))
