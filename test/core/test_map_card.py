"""Sections that are added to a map card later."""

import pytest

from visloc_ros.core.map_card import put_section

CARD = "<main><section>Images</section>\n<footer>Map format</footer></main>"


def test_a_section_stands_before_the_footer_and_is_replaced(tmp_path):
    card = tmp_path / "map.html"
    card.write_text(CARD)
    put_section(tmp_path, "landmarks", "<p>first</p>")
    put_section(tmp_path, "fused", "<p>other</p>")
    put_section(tmp_path, "landmarks", "<p>second</p>")
    text = card.read_text()
    assert "first" not in text
    assert text.index("Images") < text.index("other") < text.index("second") < text.index("<footer>")
    assert text.replace(text[text.index("<!--") : text.index("<footer>")], "") == CARD


@pytest.mark.parametrize("content", [None, "", "no card at all", "<!-- landmarks -->\n cut off"])
def test_what_is_no_card_is_no_card_afterwards(tmp_path, content):
    card = tmp_path / "map.html"
    if content is not None:
        card.write_text(content)
    put_section(tmp_path, "landmarks", "<p>section</p>")
    assert card.exists() == (content is not None)
    assert content is None or card.read_text() == content


def test_a_link_elsewhere_is_not_written_through(tmp_path):
    other = tmp_path / "other.html"
    other.write_text(CARD)
    (tmp_path / "map.html").symlink_to(other)
    put_section(tmp_path, "landmarks", "<p>section</p>")
    assert other.read_text() == CARD
