"""Data sets from a server on this machine: readable and right, or not there at all, and what was there stays."""

import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import ConfigError, OutputError, SourceError
from visloc_ros.sources import open_source
from visloc_ros.sources.data_fetching import DATA_SETS, LARGEST_BYTES, DataSet, fetch_data, find_data_set, record_path


class Server(SimpleHTTPRequestHandler):
    """Gives the files of a folder, one that is called broken only to its half, and one called endless for ever."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        """Answer, or break off."""
        if self.path.endswith("endless.zip"):
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                return
        if "broken" not in self.path:
            super().do_GET()
            return
        content = (self.directory / self.path.lstrip("/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


def picture(seed):
    pixels = np.full((480, 640, 3), 10 * seed, np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def zipped(**members):
    """The same bytes for the same members: all are dated 1980."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/")), content)
    return packed.getvalue()


def seven_scenes(seed=0):
    """One sequence of two images, an archive in an archive."""
    pose = "\n".join(["1 0 0 0", "0 1 0 0", "0 0 1 0", "0 0 0 1"])
    names = [f"seq-01/frame-{number:06d}" for number in range(2)]
    images = {f"{name}.color.png": picture(seed + number) for number, name in enumerate(names)}
    return zipped(**{"heads/seq-01.zip": zipped(**images, **{f"{name}.pose.txt": pose for name in names})})


def tum():
    packed = io.BytesIO()
    members = {
        "rgb.txt": b"# color images\n# file: 'rgbd_dataset_freiburg1_toy.bag'\n1.0 rgb/1.0.png\n1.1 rgb/1.1.png\n",
        "groundtruth.txt": b"1.0 0 0 0 0 0 0 1\n",
    }
    members |= {f"rgb/{stamp}.png": picture(number) for number, stamp in enumerate(("1.0", "1.1"))}
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"rgbd_dataset_freiburg1_toy/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def publish(tmp_path):
    """Puts a file on the server and gives its entry, without a checksum."""
    folder = tmp_path / "published"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def publish(file, content):
            (folder / file).write_bytes(content)
            return DataSet("toy", f"http://127.0.0.1:{server.server_port}/{file}", "MIT", "tests")

        yield publish
        server.shutdown()
        thread.join()


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_archives_in_an_archive_become_recordings(publish, tmp_path):
    fetched = fetch_data(publish("heads.zip", seven_scenes()), tmp_path / "data", 0)
    (recording,) = fetched.recordings
    assert recording == tmp_path / "data" / "toy" / "heads" / "seq-01"
    assert len(open_source(recording)) == 2
    assert not list(tmp_path.glob("data/**/*.zip"))
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name[0] == "."] == []


def test_a_tar_archive_with_its_checksum_is_verified_by_the_catalogue(publish, tmp_path):
    archive = tum()  # once: gzip writes the second in which it packs
    entry = publish("toy.tgz", archive)
    known = replace(entry, sha256=hashlib.sha256(archive).hexdigest(), size=len(archive))
    fetched = fetch_data(known, tmp_path / "data", known.size)
    assert fetched.verified_by == "the catalogue"
    source = open_source(fetched.recordings[0])
    assert (len(source), source.calibrated, len(source.ground_truth)) == (2, True, 1)


def test_what_came_first_is_recorded_and_later_ones_are_held_against_it(publish, tmp_path):
    entry, into = publish("heads.zip", seven_scenes()), tmp_path / "data"
    assert fetch_data(entry, into, 0).verified_by == ""
    record = json.loads(record_path(entry, into).read_text())
    assert record == {"url": entry.url, "sha256": hashlib.sha256(seven_scenes()).hexdigest()}
    shutil.rmtree(into / "toy")
    assert fetch_data(entry, into, 0).verified_by == "what came before"
    before = files_in(into)
    publish("heads.zip", seven_scenes(seed=5))
    with pytest.raises(SourceError, match=r"not what it gave before .*nothing was kept; remove .*toy\.fetched\.json"):
        fetch_data(entry, into, 0)
    assert files_in(into) == before


HOSTILE = {
    "heads.zip": (zipped(**{"../evil": b"x"}), "points outside"),
    "nested.zip": (zipped(**{"a/b.zip": zipped(**{"../../../evil": b"x"})}), "points outside"),
    "empty.zip": (zipped(readme=b"nothing"), "no recording that can be read"),
    "page.zip": (b"<html>", "it is a web page"),
    "page.tgz": (b"<html>", "it is a web page"),
    "broken.zip": (seven_scenes(), r"cannot download .*try again"),
}


@pytest.mark.parametrize("file", HOSTILE)
def test_what_is_no_data_set_leaves_nothing_and_what_was_there(publish, tmp_path, file):
    into, (content, words) = tmp_path / "data", HOSTILE[file]
    (into / "toy").mkdir(parents=True)
    (into / "toy" / "precious.txt").write_text("mine")
    with pytest.raises(SourceError, match=words) as caught:
        fetch_data(publish(file, content), into, 0)
    assert "\n" not in str(caught.value)
    assert files_in(into) == ["toy/precious.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "published"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, r"is not 'toy' .*nothing was kept"),
        ({"size": 10}, "larger than 'toy' can be"),
    ],
    ids=["another checksum", "too large"],
)
def test_another_file_than_the_catalogue_says_leaves_nothing(publish, tmp_path, changes, words):
    entry = replace(publish("heads.zip", seven_scenes()), **changes)
    with pytest.raises(SourceError, match=words):
        fetch_data(entry, tmp_path / "data", entry.size)
    assert files_in(tmp_path / "data") == []


def test_a_stream_without_end_is_broken_off(publish, tmp_path):
    entry = publish("endless.zip", b"")
    with pytest.raises(SourceError, match="larger than 'toy' can be"):
        fetch_data(entry, tmp_path / "data", 1 << 20)
    assert files_in(tmp_path / "data") == []


def test_a_server_that_is_gone_and_a_folder_that_cannot_be_written_are_reported(tmp_path):
    gone = DataSet("toy", "http://127.0.0.1:1/toy.zip", "MIT", "tests")
    with pytest.raises(SourceError, match=r"cannot download .*\(ConnectError\)"):
        fetch_data(gone, tmp_path / "data", 0)
    assert files_in(tmp_path / "data") == []
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        fetch_data(gone, tmp_path / "taken", 0)


def test_a_disk_that_is_too_small_is_reported_before_the_download(publish, tmp_path):
    with pytest.raises(OutputError, match="free some space"):
        fetch_data(publish("heads.zip", seven_scenes()), tmp_path / "data", 1 << 60)


def test_a_record_that_is_none_is_reported(publish, tmp_path):
    entry = publish("heads.zip", seven_scenes())
    (tmp_path / "data").mkdir()
    record_path(entry, tmp_path / "data").write_text("[]")
    with pytest.raises(SourceError, match=r"toy\.fetched\.json is no record"):
        fetch_data(entry, tmp_path / "data", 0)


def test_a_record_that_cannot_be_looked_at_is_not_taken_for_none(publish, tmp_path):
    entry, into = publish("heads.zip", seven_scenes()), tmp_path / "data"
    into.mkdir()
    record_path(entry, into).symlink_to(record_path(entry, into).name)  # a circle
    with pytest.raises(SourceError, match="cannot read"):
        fetch_data(entry, into, 0)
    assert record_path(entry, into).is_symlink()


def test_the_catalogue_is_sound():
    assert len({entry.name for entry in DATA_SETS}) == len(DATA_SETS)
    for entry in DATA_SETS:
        assert entry.url.startswith("https://")
        assert entry.file.endswith((".tgz", ".zip"))
        assert entry.licence
        assert len(entry.sha256) in (0, 64)
        assert bool(entry.sha256) == bool(entry.size) <= LARGEST_BYTES
    with pytest.raises(ConfigError, match="known: tum-fr1-xyz"):
        find_data_set("euroc")


class TestCommand:
    @pytest.fixture
    def run(self, publish, tmp_path, monkeypatch):
        entry = publish("heads.zip", seven_scenes())
        for module in ("apps.command_fetch", "sources.data_fetching"):
            monkeypatch.setattr(f"visloc_ros.{module}.DATA_SETS", (entry,))
        into = str(tmp_path / "data")
        return lambda *words, answer="": CliRunner().invoke(app, ["fetch-data", *words, "--into", into], input=answer)

    def test_it_shows_size_and_licence_and_asks(self, run, tmp_path):
        refused = run("toy", answer="n\n")
        assert refused.exit_code == 1
        assert all(words in refused.output for words in ("MB", "licence: MIT", "no checksum of it is known"))
        assert not (tmp_path / "data").exists()
        assert run("toy", answer="y\n").exit_code == 0
        again = run("toy")
        assert (again.exit_code, "licence:" in again.output) == (0, False)
        assert "seq-01" in again.output

    def test_json_names_the_recordings_and_nothing_else_is_printed(self, run, tmp_path):
        finished = run("toy", "--yes", "--json")
        assert finished.exit_code == 0, finished.output
        told = json.loads(finished.stdout)
        assert told["recordings"] == [str(tmp_path / "data" / "toy" / "heads" / "seq-01")]
        assert "licence: MIT" in finished.stderr

    def test_it_is_fetched_again_only_when_told(self, run, tmp_path):
        run("toy", "--yes")
        (tmp_path / "data" / "toy" / "mine.txt").touch()
        run("toy", "--yes")
        assert (tmp_path / "data" / "toy" / "mine.txt").exists()
        assert run("toy", "--yes", "--overwrite").exit_code == 0
        assert not (tmp_path / "data" / "toy" / "mine.txt").exists()

    def test_the_list_and_an_unknown_name(self, run):
        assert "toy" in run("--list").output
        assert isinstance(run("other").exception, ConfigError)
        assert isinstance(run().exception, ConfigError)
