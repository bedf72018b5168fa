"""Sections of a results file in Markdown, each written by the benchmark that measured it."""

from collections.abc import Iterable, Sequence
from pathlib import Path


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
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def provenance(report: dict) -> str:
    """Where and how figures were measured."""
    return f"{report['machine']}; {report['date']}; `{report['command']}`"
