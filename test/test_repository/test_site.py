"""The documentation as a site: it builds without a warning, leads to every page, and needs no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOADING = {"src", "srcset", "data", "poster"}  # attributes that a browser loads by itself; of links only some
LOADED_LINKS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest", "modulepreload"}
FETCHING = ('class="mermaid"', 'data-md-component="source"')  # for which the theme's script asks other hosts
IMPORTS = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//")


class Loads(HTMLParser):
    """Addresses on other hosts that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        addresses = [given[name] for name in LOADING & given.keys()]
        if tag == "link" and LOADED_LINKS & set(given.get("rel", "").split()):
            addresses.append(given.get("href", ""))
        self.found += [address for address in addresses if re.match(r"(?:https?:)?//", address)]


def loads_from_elsewhere(html: str) -> list[str]:
    parser = Loads()
    parser.feed(html)
    return parser.found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = Path(sys.executable).with_name("mkdocs")
    if not program.exists():
        pytest.skip("mkdocs is not installed beside this Python; 'make setup' brings it")
    folder = tmp_path_factory.mktemp("site")
    command = [program, "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_in_the_navigation() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/]+\.md)$", text[text.index("\nnav:") :], re.MULTILINE))
    docs = REPOSITORY / "docs"
    assert named >= {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = {page.name: page.read_text("utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 30
    assert {name: found for name, html in pages.items() if (found := loads_from_elsewhere(html))} == {}
    assert [name for name, html in pages.items() if any(mark in html for mark in FETCHING)] == []
    assert [sheet.name for sheet in site.rglob("*.css") if IMPORTS.search(sheet.read_text("utf-8"))] == []


def test_the_api_is_filled_from_the_docstrings(site: Path) -> None:
    text = (site / "api" / "localization.html").read_text("utf-8")
    for name in ("localization.AnchorEngine.localize", "pipeline.Localizer.process", "fusion.Estimator.add_anchor"):
        assert f'id="visloc_ros.{name}"' in text


def test_linked_files_are_pages_of_the_site(site: Path) -> None:
    assert "repository/results/anchor.html" in (site / "results.html").read_text("utf-8")
    assert "fusion_node" in (site / "repository" / "config" / "fusion_node.yaml.html").read_text("utf-8")


def test_a_page_that_loads_from_elsewhere_is_found() -> None:
    html = """<link rel="stylesheet" href="https://a.example/x.css"><script src="//b.example/x.js"></script>
    <link rel="canonical" href="https://c.example/"><a href="https://d.example/">d</a><img src="images/e.png">"""
    assert loads_from_elsewhere(html) == ["https://a.example/x.css", "//b.example/x.js"]


def test_no_visitor_is_tracked() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert "analytics" not in text
    assert re.search(r"^  font: false$", text, re.MULTILINE)
