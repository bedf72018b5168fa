"""Results files, written section by section."""

from benchmarks.results_file import put_section, table


def test_a_section_replaces_its_older_self_and_leaves_the_others(tmp_path):
    path = tmp_path / "anchor.md"
    put_section(path, "Stages", "first")
    put_section(path, "Scaling", "100 images\n\n### detail\n\nmore")
    put_section(path, "Stages", "second")
    assert path.read_text() == "# Anchor\n\n## Stages\n\nsecond\n\n## Scaling\n\n100 images\n\n### detail\n\nmore\n"


def test_a_table_has_as_many_columns_everywhere():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---:|\n| 1 | 2 |"
