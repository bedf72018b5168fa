"""What benchmarks write: figures as JSON, and sections of results files in Markdown."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""Figures as written to JSON."""


def put_section(path: Path, title: str, body: str) -> None:
    """Replace the section ``## title`` of a file, or append it; the other sections stay as they are."""
    old = path.read_text(encoding="utf-8") if path.exists() else f"# {path.stem.capitalize()}\n"
    head, *sections = old.split("\n## ")
    kept = {section.partition("\n")[0]: section.partition("\n")[2] for section in sections}
    kept[title] = f"\n{body.strip()}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join([head.strip(), *(f"## {name}\n\n{content.strip()}" for name, content in kept.items())])
    path.write_text(text + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    first, *others = ("| " + " | ".join(cells) + " |" for cells in (header, *rows))
    return "\n".join([first, f"|---|{'---:|' * (len(header) - 1)}", *others])


def provenance_line(report: Mapping[str, Any]) -> str:
    """Where and how figures were measured."""
    return f"{report['machine']}; {report['date']}; `{report['command']}`"


def read_json(path: Path) -> Figures:
    """Figures that a run wrote."""
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    return figures


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def write_section(path: Path | None, title: str, report: Mapping[str, Any], body: str) -> None:
    """Print a section; where a file is named, write it there, with how its figures were measured."""
    print(f"\n{title}\n\n{body}", flush=True)
    if path:
        put_section(path, title, f"{provenance_line(report)}\n\n{body}")


def write_outputs(arguments: argparse.Namespace, title: str, report: Mapping[str, Any], body: str) -> None:
    """Print the section; write it to ``--markdown`` and the report to ``--json``, where these are named."""
    write_section(arguments.markdown, title, report, body)
    if arguments.json:
        write_json(arguments.json, report)
