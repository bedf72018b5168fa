"""The documents: their links lead somewhere, and the files and functions that they name are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "results/README.md", "plugins/*/*.md", "plugins/*/docs/*.md")
PAGES = sorted(page for pattern in PATTERNS for page in REPOSITORY.glob(pattern))
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
QUOTED_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/[\w.-]+\.(?:py|md|yaml|json|toml|msg|srv|xml))(?::([\w.]+))?`")


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def broken_links(page: Path) -> list[str]:
    """Links of a page to files, and to headings in them, that are not there."""
    targets = (target for target in LINK.findall(prose(page)) if "://" not in target)
    return [target for target in targets if not leads_somewhere(page, target)]


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    return path.exists() and (not heading or heading in anchors(path))


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_references(page: Path) -> list[str]:
    """Files, and functions in them, that a page names as ``folder/file.py:function`` and that are not there.

    The page of a plug-in names those of its own folder.
    """
    references, folders = QUOTED_PATH.findall(prose(page)), (REPOSITORY, page.parent, page.parent.parent)
    return [
        f"{name}:{function}"
        for name, function in references
        if not any(is_there(folder / name, function) for folder in folders)
    ]


def is_there(path: Path, function: str) -> bool:
    return path.is_file() and (not function or function in definitions(path))


def definitions(path: Path) -> set[str]:
    """Names of the functions, classes, methods and constants of a Python file: ``Class.method``."""

    def names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))

    return set(names(ast.parse(path.read_text(encoding="utf-8")).body, ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_named_files_and_functions_are_there(page: Path) -> None:
    assert missing_references(page) == []


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("results/*.md")), ids=lambda page: page.name)
def test_the_programs_that_wrote_a_result_are_there(page: Path) -> None:
    programs = re.findall(r"python -m (benchmarks(?:\.\w+)+)", page.read_text(encoding="utf-8"))
    assert [name for name in programs if not (REPOSITORY / f"{name.replace('.', '/')}.py").is_file()] == []


def test_the_readme_leads_to_every_document() -> None:
    """Itself, or by the first page of the site."""
    first_page = REPOSITORY / "docs" / "index.md"
    linked = {first_page} | {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (REPOSITORY / "README.md", first_page)
        for target in LINK.findall(prose(page))
    }
    assert [page.name for page in sorted((REPOSITORY / "docs").glob("*.md")) if page not in linked] == []


def test_the_readme_fits_one_screen_and_a_half() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


def test_every_question_of_a_newcomer_ends_at_a_line() -> None:
    text = prose(REPOSITORY / "docs" / "finding_your_way.md")
    questions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(questions) >= 10
    for question in questions:
        steps = re.split(r"^\d+\. ", question, flags=re.MULTILINE)[1:]
        assert 1 <= len(steps) <= 3, question
        assert any(function for _, function in QUOTED_PATH.findall(steps[-1])), question


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](nowhere.md)", ["nowhere.md"]),
        ("[a](page.md#other)", ["page.md#other"]),
        ("# A heading: with `code`\n[a](#a-heading-with-code) [b](page.md) [c](https://example.org/x)", []),
        ("```\n[a](nowhere.md)\n```", []),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, broken: list[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n", encoding="utf-8")
    assert broken_links(page) == broken


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`visloc_ros/core/nothing.py`", ["visloc_ros/core/nothing.py:"]),
        ("`visloc_ros/core/clock.py:StampGuard.judge` `visloc_ros/core/clock.py`", []),
        ("`visloc_ros/core/clock.py:StampGuard.nothing`", ["visloc_ros/core/clock.py:StampGuard.nothing"]),
        ("`make docs` `out/office`", []),
    ],
)
def test_a_missing_reference_is_found(tmp_path: Path, text: str, missing: list[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n", encoding="utf-8")
    assert missing_references(page) == missing


def texts_that_name_pages() -> Iterator[tuple[str, str]]:
    """The strings of the package that send readers to a page, with the page."""
    for path in sorted((REPOSITORY / "visloc_ros").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from ((node.value, page) for page in re.findall(r"\b(?:docs|results)/\w+\.md\b", node.value))


def test_pages_that_messages_send_to_exist_and_say_what_is_promised():
    texts = list(texts_that_name_pages())
    assert texts
    for text, page in texts:
        assert (REPOSITORY / page).is_file(), text
        said = (REPOSITORY / page).read_text(encoding="utf-8")
        assert [option for option in re.findall(r"[a-z_]+:=\w+", text) if option not in said] == [], text
