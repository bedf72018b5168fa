"""Packed maps from strangers: refused in words, at once, and neither memory nor disk are filled."""

import contextlib
import gzip
import json
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, spoiled
from search_length import SEARCH

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import read_global_descriptors, read_local_features
from visloc_ros.core.manifest import MANIFEST_NAME, file_info, read_manifest, write_manifest
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import members
from visloc_ros.core.map_folder import read_entry

DEMO_MAP = Path("maps/demo_room.tar.gz").resolve()
OPEN_EACH = """
import json, os, resource, sys, time
from pathlib import Path
from visloc_ros.core.errors import MapError
from visloc_ros.core.map import open_map
import visloc_ros.core.map_archive

def memory_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def free_blocks(path):
    return os.statvfs(path).f_bfree

open_map(Path(sys.argv[1]))
for path in sys.argv[2:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, path
        continue
    before_kb, before_blocks, begin_s = memory_kb(), free_blocks(path), time.process_time()
    try:
        open_map(Path(path))
    except MapError as error:
        words = str(error)
    took = time.process_time() - begin_s
    print(json.dumps([memory_kb() - before_kb, took, before_blocks - free_blocks(path), words]), flush=True)
    os._exit(0)
"""
MOST_KB, MOST_S = 500_000, 2.0


def long_name(path):
    """A GNU long name of 300 MB, packed to 300 kB."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 300 << 20
    path.write_bytes(gzip.compress(header.tobuf()) + 300 * gzip.compress(b"x" * (1 << 20)))


def pax_header(path):
    """Extended attributes of 32 MB, many thousands of them."""
    records = 100 * b"".join(b"%d a%07d=b\n" % (14, index) for index in range(20_000))
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf())
        file.write(records)
        file.write(b"\0" * (-len(records) % 512))


def sparse_member(path):
    """A member of 4 GB without data, as GNU tar writes it."""
    member = tarfile.TarInfo("features.h5")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf())
    block[386:398] = b"%011o\0" % 0
    block[398:410] = b"%011o\0" % 0
    block[483:495] = b"%011o\0" % (4 << 30)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(gzip.compress(bytes(block) + b"\0" * 1024))


def sparse_pax_member(path):
    """The same as newer versions write it, in extended attributes."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("features.h5")
        member.pax_headers = {"GNU.sparse.size": str(4 << 30), "GNU.sparse.numblocks": "0", "GNU.sparse.map": "0,0"}
        tar.addfile(member)


def zeros(path):
    """A file of 2 GB of zeros."""
    member = tarfile.TarInfo("features.h5")
    member.size = 2 << 30
    path.write_bytes(gzip.compress(member.tobuf()) + 2048 * gzip.compress(bytes(1 << 20), compresslevel=1))


def many_files(path):
    with tarfile.open(path, "w:gz") as tar:
        for index in range(20_000):
            tar.addfile(tarfile.TarInfo(f"thumbnails/{index}"))


BOMBS = (long_name, pax_header, sparse_member, sparse_pax_member, zeros, many_files)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What came of opening each bomb: its path, the memory, the time and the disk that it took, and the words."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = [folder / f"{bomb.__name__}.tar.gz" for bomb in BOMBS]
    for bomb, path in zip(BOMBS, paths, strict=True):
        bomb(path)
    command = [sys.executable, "-c", OPEN_EACH, DEMO_MAP, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = map(json.loads, done.stdout.splitlines())
    return {bomb: (path, *answer) for bomb, path, answer in zip(BOMBS, paths, answers, strict=True)}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda one: one.__name__)
def test_a_bomb_is_refused_at_once(opened, bomb):
    path, more_kb, seconds, blocks, words = opened[bomb]
    assert more_kb < MOST_KB
    assert seconds < MOST_S
    assert blocks < 1 << 20
    assert str(path) in words
    assert len(words.splitlines()) == 1


@SEARCH
@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6), st.booleans()
)
def test_a_damaged_archive_is_refused_or_opens(changes, is_plain):
    """Bytes are overwritten anywhere, in the packed file or in what it unpacks to."""
    data = bytearray(DEMO_MAP.read_bytes())
    data = bytearray(gzip.decompress(data)) if is_plain else data
    for place, content in changes:
        offset = round(place * (len(data) - len(content)))
        data[offset : offset + len(content)] = content
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(MapError):
            open_map(Path(file.name), checksums=False)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    shutil.unpack_archive(DEMO_MAP, folder)
    return folder


def test_a_damaged_map_is_refused_or_opens(demo_folder, tmp_path_factory, little_memory):
    """A file is changed, cut, doubled or gone, and the manifest is told so, or is itself what is spoiled."""
    files = sorted(path for path in demo_folder.rglob("*") if path.is_file() and path.suffix != ".jpg")

    @SEARCH
    @given(st.integers(0, 2**32 - 1))
    def search(seed):
        rng = np.random.default_rng(seed)
        folder = tmp_path_factory.mktemp("damaged") / "map"
        shutil.copytree(demo_folder, folder)
        changed = folder / files[int(rng.integers(len(files)))].relative_to(demo_folder)
        text = changed.read_bytes()
        if changed.name == MANIFEST_NAME:
            changed.write_bytes(spoiled(text.decode(), rng))
        else:
            changed.write_bytes(damaged(text, rng))
            manifest = read_manifest(folder)
            name = changed.relative_to(folder).as_posix()
            if name in manifest.files:
                write_manifest(folder, replace(manifest, files={**manifest.files, name: file_info(changed)}))
        begin_s = time.process_time()
        with contextlib.suppress(MapError):
            open_map(folder)
        assert time.process_time() - begin_s < MOST_S
        shutil.rmtree(folder)

    search()


def test_a_map_with_links_is_not_packed(tmp_path):
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    (folder / "vlad.h5").rename(tmp_path / "elsewhere.h5")
    (folder / "vlad.h5").symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(MapError, match="no plain file"):
        pack_map(folder, tmp_path / "packed.tar.gz")
    assert not (tmp_path / "packed.tar.gz").exists()


@pytest.mark.parametrize("name", ["vlad.h5", "features.h5", "sfm/points3D.bin", "manifest.json", "thumbnails"])
def test_a_map_does_not_read_other_peoples_files(tmp_path, name):
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MapError, match="leads out of"):
        open_map(folder)


def test_a_thumbnail_is_no_other_file(tmp_path):
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    (tmp_path / "secret").write_text("secret")
    picture = next((folder / "thumbnails").iterdir())
    picture.unlink()
    picture.symlink_to(tmp_path / "secret")
    with pytest.raises(MapError, match="leads out of"):
        open_map(folder, checksums=False)


@pytest.mark.parametrize("name", ["thumbnails/notes.jpg", "landmarks", "more/features.h5", "map.html"])
def test_a_link_that_nothing_reads_is_no_way_out_either(tmp_path, name):
    """To align, extend or prepare a map copies such files, and a server gives them away."""
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    (tmp_path / "secret").write_text("secret")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(MapError, match=f"{name} leads out of .*put a copy"):
        open_map(folder, checksums=False)
    assert "leads out of" in read_entry(folder).problem


def test_a_circle_of_links_is_refused_and_one_within_the_map_is_not(tmp_path):
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    (folder / "latest.h5").symlink_to("features.h5")
    open_map(folder, checksums=False)
    (folder / "circle").symlink_to("circle")
    with pytest.raises(MapError, match="circle leads out of"):
        open_map(folder, checksums=False)


def test_an_old_version_that_is_elsewhere_counts_neither_in_the_archive_nor_in_the_size(tmp_path):
    folder = tmp_path / "map"
    shutil.unpack_archive(DEMO_MAP, folder)
    files, size = members(folder), read_entry(folder).size
    (folder / "versions" / "1").mkdir(parents=True)
    (folder / "versions" / "2").symlink_to(tmp_path)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    (folder / "versions" / "1" / "vlad.h5").symlink_to(tmp_path / "large")
    assert (members(folder), read_entry(folder).size) == (files, size)


@pytest.fixture
def little_memory():
    """Room for half a gigabyte more than there is."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (500 << 20), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def test_arrays_out_of_nothing_are_refused(tmp_path, little_memory):
    with h5py.File(tmp_path / "global.h5", "w") as file:
        for index in range(20_000):
            file.create_dataset(f"{index}/global_descriptor", (131_072,), "f8")
    with pytest.raises(MapError, match="more than a map can hold"):
        read_global_descriptors(tmp_path / "global.h5", [str(index) for index in range(20_000)])
    with h5py.File(tmp_path / "features.h5", "w") as file:
        group = file.create_group("a.jpg")
        group["keypoints"] = np.zeros((1000, 2), np.float32)
        group.create_dataset("descriptors", (131_072, 1000), "f8")
        group["image_size"] = [640, 480]
    with pytest.raises(MapError, match="expected numbers anyx1000"):
        read_local_features(tmp_path / "features.h5", ["a.jpg"], [1000])
