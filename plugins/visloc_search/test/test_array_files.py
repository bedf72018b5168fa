"""Arrays in files, whoever wrote them."""

import io
import zipfile

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_search.reduced_map.array_files import read_arrays, write_arrays

ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.array([-1, 5], np.int64), "c": np.zeros((0, 2))}
EXPECTED = {"a": ("<f4", (4, 3)), "b": ("<i8", (None,)), "c": ("<f8", (None, 2))}


def read(path, expected, advice):
    return read_arrays(path.name, path.read_bytes(), expected, advice)


def npy(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def write_zip(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", content)


def test_what_is_written_is_read_here_and_by_numpy(tmp_path):
    path = tmp_path / "x.npz"
    write_arrays(path, ARRAYS)
    found = read(path, EXPECTED, "")
    with np.load(path, allow_pickle=False) as theirs:
        for name, values in ARRAYS.items():
            assert found[name].dtype == theirs[name].dtype == values.dtype
            assert np.array_equal(found[name], values)
            assert np.array_equal(theirs[name], values)


def test_what_numpy_writes_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", **ARRAYS)
    assert np.array_equal(read(tmp_path / "x.npz", EXPECTED, "")["a"], ARRAYS["a"])


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        write_arrays(tmp_path / name, ARRAYS)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((4, 2), np.float32), "expected <f4 4x3"),
        (np.zeros(12, np.float32), "expected <f4 4x3"),
        (np.zeros((4, 3)), "expected <f4 4x3"),
        (np.asfortranarray(np.zeros((4, 3), np.float32)), "no array of numbers"),
        (np.full((4, 3), np.nan, np.float32), "not finite"),
        (np.full((4, 3), np.inf, np.float32), "not finite"),
        (np.zeros((4, 3), [("x", "<f4")]), "no array of numbers"),
    ],
)
def test_another_array_is_refused(tmp_path, values, words):
    write_zip(tmp_path / "x.npz", npy(values))
    with pytest.raises(MapError, match=words):
        read(tmp_path / "x.npz", {"a": EXPECTED["a"]}, ": do so")


def test_a_pickle_is_never_opened(tmp_path):
    write_zip(tmp_path / "x.npz", npy(np.array([[{}] * 3] * 4, object), allow_pickle=True))
    with pytest.raises(MapError, match="no array of numbers"):
        read(tmp_path / "x.npz", {"a": EXPECTED["a"]}, "")


def test_a_header_cannot_claim_more_than_there_is(tmp_path):
    content = npy(np.zeros((4, 3), np.float32)).replace(b"(4, 3)", b"(99,3)")
    write_zip(tmp_path / "x.npz", content)
    with pytest.raises(MapError, match="12 numbers"):
        read(tmp_path / "x.npz", {"a": ("<f4", (None, 3))}, "")


def test_packed_arrays_are_refused(tmp_path):
    """A thousand bytes could be a megabyte."""
    write_zip(tmp_path / "x.npz", npy(ARRAYS["a"]), zipfile.ZIP_DEFLATED)
    with pytest.raises(MapError, match="packed"):
        read(tmp_path / "x.npz", {"a": EXPECTED["a"]}, "")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"\x80\x04K\x01."])
def test_what_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    write_zip(tmp_path / "y.npz", content)
    for name in ("x.npz", "y.npz"):
        with pytest.raises(MapError) as caught:
            read(tmp_path / name, {"a": EXPECTED["a"]}, ": do so")
        assert str(caught.value).endswith(": do so")


def test_every_truncation_and_every_wrong_byte_is_refused_or_changes_nothing(tmp_path):
    path, broken = tmp_path / "x.npz", tmp_path / "y.npz"
    write_arrays(path, ARRAYS)
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        broken.write_bytes(content[:size])
        with pytest.raises(MapError):
            read(broken, EXPECTED, "")
    for place in range(0, len(content), 3):
        broken.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = read(broken, EXPECTED, "")
        except MapError:
            continue
        assert all(np.array_equal(found[name], values) for name, values in ARRAYS.items())
