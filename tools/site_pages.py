"""Bring the files that the pages of ``docs/`` link to into the documentation site (a hook of MkDocs, see mkdocs.yml).

Pages are written for a reader of the repository, whose links lead to results, settings and code outside ``docs/``. The
site holds each of these below ``repository/``: pages as they are, text as a page that shows it, all else as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?P<code>^ *```.*?^ *```|`[^`\n]+`)|\]\((?P<target>[^)\s#]+)(?P<heading>#[^)\s]*)?\)", re.M | re.S)
SHOWN_AS_IT_IS = {".png", ".gif", ".svg", ".jpg", ".html"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".xml": "xml", ".urdf": "xml"}
HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add all files that the pages link to, and those that these link to."""
    waiting = [ROOT / "docs" / file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for path in sorted(linked(page) - seen):
            seen.add(path)
            waiting.append(path)
            if not path.is_relative_to(ROOT / "docs"):
                files.append(site_file(path, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where the site holds what they name."""
    if "search" in page.meta:  # made by ``site_file``
        return markdown
    uri = PurePosixPath(page.file.src_uri)
    path = ROOT.joinpath(*uri.parts[1:]) if uri.parts[0] == "repository" else ROOT / "docs" / uri

    def moved(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or "://" in target:
            return match[0]
        relative = os.path.relpath(site_uri((path.parent / target).resolve()), uri.parent)
        return f"]({relative}{match['heading'] or ''})"

    return LINK.sub(moved, markdown)


def linked(path: Path) -> set[Path]:
    """What a page links to, or what lies in a folder."""
    if path.is_dir():
        return {child for child in path.iterdir() if child.is_file() and child.suffix not in {"", ".pyc"}}
    if path.suffix != ".md":
        return set()
    targets = (match["target"] for match in LINK.finditer(path.read_text(encoding="utf-8")))
    return {(path.parent / target).resolve() for target in targets if target and "://" not in target}


def site_uri(path: Path) -> str:
    """Where the site holds a file of the repository."""
    uri = path.relative_to(ROOT).as_posix()
    if uri.startswith("docs/"):
        return uri.removeprefix("docs/")
    if path.is_dir():
        uri = f"{uri}/README.md" if (path / "README.md").exists() else f"{uri}/index.md"
    elif path.suffix not in SHOWN_AS_IT_IS | {".md"}:
        uri += ".md"
    return f"repository/{uri}"


def site_file(path: Path, config: MkDocsConfig) -> File:
    """A file of the repository as a file of the site."""
    uri, inclusion = site_uri(path), InclusionLevel.NOT_IN_NAV
    if path.is_dir():
        names = sorted(child.name for child in linked(path))
        lines = [f"- [{name}]({os.path.relpath(site_uri(path / name), PurePosixPath(uri).parent)})" for name in names]
        text = "\n".join([f"{HIDDEN}# {path.relative_to(ROOT).as_posix()}", "", *lines])
        return File.generated(config, uri, content=text, inclusion=inclusion)
    if path.suffix in SHOWN_AS_IT_IS | {".md"}:
        return File.generated(config, uri, abs_src_path=str(path), inclusion=inclusion)
    content, language = path.read_text(encoding="utf-8"), LANGUAGES.get(path.suffix, "text")
    text = f"{HIDDEN}# {path.relative_to(ROOT).as_posix()}\n\n~~~~~~ {language}\n{content}\n~~~~~~\n"
    return File.generated(config, uri, content=text, inclusion=inclusion)
