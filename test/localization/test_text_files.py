"""Files of embeddings of texts, and what is refused as such."""

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.text_files import read_texts


def test_texts_are_read_by_name_and_made_unit(tmp_path):
    np.savez(tmp_path / "texts.npz", **{"room/a.jpg": np.array([3.0, 4.0]), "b.jpg": np.array([0.0, -2.0])})
    texts = read_texts(tmp_path / "texts.npz")
    np.testing.assert_allclose(texts["room/a.jpg"], [0.6, 0.8])
    np.testing.assert_allclose(texts["b.jpg"], [0.0, -1.0])


@pytest.mark.parametrize(
    "arrays",
    [{}, {"a": np.zeros(3)}, {"a": np.ones(2), "b": np.ones(3)}, {"a": np.ones((2, 2))}, {"a": np.array(["word"])}],
)
def test_what_are_no_texts_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "texts.npz", **arrays)
    with pytest.raises(ConfigError, match=r"texts\.npz"):
        read_texts(tmp_path / "texts.npz")


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_what_is_no_file_of_texts_is_refused(tmp_path, content):
    (tmp_path / "texts.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"numpy\.savez"):
        read_texts(tmp_path / "texts.npz")
    with pytest.raises(ConfigError, match=r"numpy\.savez"):
        read_texts(tmp_path / "nowhere.npz")
