"""Sections that ways of searching add to the map card ``map.html``, which the build of the map wrote."""

from __future__ import annotations

from pathlib import Path

from visloc_ros.core.map_layout import CARD_NAME

_END = b"<footer>"


def put_section(folder: Path, name: str, section: str) -> None:
    """Write a section, HTML, at the end of a map's card, in place of an earlier section of that name.

    A map without a card gets none, and a card that is a link stays as it is.
    """
    path = folder / CARD_NAME
    if not path.is_file() or path.is_symlink():
        return
    first, last = f"<!-- {name} -->\n".encode(), f"<!-- end of {name} -->\n".encode()
    card = _without(path.read_bytes(), first, last)
    before, end, after = card.rpartition(_END)
    if end:
        path.write_bytes(before + first + section.encode() + b"\n" + last + end + after)


def _without(card: bytes, first: bytes, last: bytes) -> bytes:
    """The card without the part between two marks."""
    start, stop = card.find(first), card.find(last)
    return card[:start] + card[stop + len(last) :] if 0 <= start < stop else card
