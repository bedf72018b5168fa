"""Weights from a server on this machine: whole and right, or not there at all."""

import hashlib
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from visloc_ros.core.errors import ConfigError, ModelError, OutputError
from visloc_ros.features.fetching import fetch, find_entries
from visloc_ros.features.weights_catalogue import CATALOGUE, WeightsFile, remedy

CONTENT = bytes(range(256)) * 400
PLACES = {"around": "/around", "inside": "file:///etc/hostname", "moved": "/toy.pth"}
MOST_BLOCKS = 10_000  # of 64 kB: for a client that would take them all


class Quiet(SimpleHTTPRequestHandler):
    """Gives the files of a folder; some names are not files, but what a hostile server does."""

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        name = self.path[1:]
        if name in PLACES:
            self.send_response(302)
            self.send_header("Location", PLACES[name])
            self.end_headers()
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(MOST_BLOCKS):
                    self.wfile.write(bytes(1 << 16))
        else:
            super().do_GET()


@pytest.fixture
def entry(tmp_path):
    """An entry whose file a server on this machine gives."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "toy.pth").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/toy.pth"
        yield WeightsFile("toy", "toy_v1.pth", url, hashlib.sha256(CONTENT).hexdigest(), 0.1, "MIT", "tests")
        server.shutdown()
        thread.join()


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Bar:
    """Counts what arrives."""

    total = 0
    arrived = 0

    def update(self, steps):
        self.arrived += steps


def test_a_file_arrives_where_it_is_looked_for(entry, tmp_path):
    bar = Bar()
    path = fetch(entry, tmp_path / "hub", bar=bar)
    assert path == tmp_path / "hub" / "checkpoints" / "toy_v1.pth"
    assert path.read_bytes() == CONTENT
    assert files_in(tmp_path / "hub") == ["checkpoints/toy_v1.pth"]
    assert bar.total == len(CONTENT)


def test_what_is_there_is_not_fetched_again(entry, tmp_path):
    fetch(entry, tmp_path / "hub")
    gone = replace(entry, url=entry.url + "-gone")
    assert fetch(gone, tmp_path / "hub").read_bytes() == CONTENT


def test_a_file_that_is_something_else_is_neither_used_nor_replaced(entry, tmp_path):
    path = entry.path(tmp_path / "hub")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ModelError, match=r"toy_v1\.pth is there but is not 'toy' .*remove it"):
        fetch(entry, tmp_path / "hub")
    assert path.read_bytes() == b"mine"


def test_a_wrong_checksum_leaves_nothing(entry, tmp_path):
    with pytest.raises(ModelError, match=r"is not 'toy' .*nothing was kept"):
        fetch(replace(entry, sha256="0" * 64), tmp_path / "hub")
    assert files_in(tmp_path / "hub") == []


def test_a_missing_file_is_reported_in_one_line(entry, tmp_path):
    with pytest.raises(ModelError, match=r"download .*/none\.pth: it answers HTTP 404; try again") as caught:
        fetch(replace(entry, url=entry.url.replace("toy", "none")), tmp_path / "hub")
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path / "hub") == []


def test_no_network_is_reported_in_one_line(entry, tmp_path):
    with pytest.raises(ModelError, match=r"cannot download .*:1/x: it does not answer \(ConnectError\); try again"):
        fetch(replace(entry, url="http://127.0.0.1:1/x"), tmp_path / "hub")
    assert files_in(tmp_path / "hub") == []


def test_a_file_that_has_moved_is_fetched_from_there(entry, tmp_path):
    moved = replace(entry, url=entry.url.replace("toy.pth", "moved"))
    assert fetch(moved, tmp_path / "hub").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endless", "is larger than 'toy' can be: nothing was kept"),
        ("around", r"it does not answer \(TooManyRedirects\)"),
        ("inside", r"it does not answer \(UnsupportedProtocol\)"),
    ],
)
def test_what_never_comes_leaves_nothing(entry, tmp_path, name, words):
    with pytest.raises(ModelError, match=words):
        fetch(replace(entry, url=entry.url.replace("toy.pth", name)), tmp_path / "hub")
    assert files_in(tmp_path / "hub") == []


def test_a_file_without_checksum_needs_consent(entry, tmp_path):
    unknown = replace(entry, sha256="")
    with pytest.raises(ModelError, match=r"no checksum of 'toy' is known.*--accept-unverified"):
        fetch(unknown, tmp_path / "hub")
    assert files_in(tmp_path / "hub") == []
    assert fetch(unknown, tmp_path / "hub", accept_unverified=True).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_reported(entry, tmp_path):
    (tmp_path / "hub").write_text("a file")
    with pytest.raises(OutputError, match="TORCH_HOME"):
        fetch(entry, tmp_path / "hub")


class TestArchive:
    """One file of a zip archive that the server gives instead."""

    @pytest.fixture
    def pack(self, entry, tmp_path):
        def pack(**members: bytes):
            with ZipFile(tmp_path / "published" / "toy.zip", "w") as archive:
                for name, content in members.items():
                    archive.writestr(name.replace("__", "/"), content)
            return replace(entry, url=entry.url.replace("toy.pth", "toy.zip"), member="toy")

        return pack

    @pytest.mark.parametrize("name", ["toy", "models__toy", "..__..__toy", "__toy"])
    def test_the_file_arrives_alone_wherever_the_archive_has_it(self, pack, tmp_path, name):
        path = fetch(pack(**{name: CONTENT, "other": b"x", "..__evil": b"y"}), tmp_path / "hub")
        assert path.read_bytes() == CONTENT
        assert files_in(tmp_path) == ["hub/checkpoints/toy_v1.pth", "published/toy.pth", "published/toy.zip"]

    @pytest.mark.parametrize(
        ("members", "complaint"),
        [
            ({"other": CONTENT}, "not a zip archive with one 'toy'"),
            ({"a__toy": CONTENT, "b__toy": CONTENT}, "not a zip archive with one 'toy'"),
            ({"toy": CONTENT + b"!"}, r"is not 'toy' \(its checksum differs\): nothing kept"),
            ({"toy": bytes(500_000)}, "larger than 'toy' can be"),
        ],
        ids=["absent", "ambiguous", "changed", "huge"],
    )
    def test_a_wrong_archive_leaves_nothing(self, pack, tmp_path, members, complaint):
        with pytest.raises(ModelError, match=complaint):
            fetch(pack(**members), tmp_path / "hub")
        assert files_in(tmp_path / "hub") == []

    def test_a_page_instead_of_an_archive_is_reported(self, entry, tmp_path):
        with pytest.raises(ModelError, match="not a zip archive"):
            fetch(replace(entry, member="toy"), tmp_path / "hub")
        assert files_in(tmp_path / "hub") == []

    def test_a_folder_that_cannot_be_written_is_reported(self, pack, tmp_path):
        (tmp_path / "hub").write_text("a file")
        with pytest.raises(OutputError, match="TORCH_HOME"):
            fetch(pack(toy=CONTENT), tmp_path / "hub")


def test_unknown_names_are_reported_with_the_known_ones():
    with pytest.raises(ConfigError, match="no weights are called surf; known: aliked-n16, "):
        find_entries(["disk", "surf"])


def test_the_catalogue_is_sound():
    assert len({entry.name for entry in CATALOGUE}) == len({entry.file for entry in CATALOGUE}) == len(CATALOGUE)
    assert all(entry.url.startswith("https://") for entry in CATALOGUE)
    assert [entry.name for entry in CATALOGUE if len(entry.sha256) != 64] == ["salad"]
    assert all(int(entry.sha256 or "0", 16) >= 0 and entry.licence and entry.megabytes > 0 for entry in CATALOGUE)


def test_checksums_are_those_of_the_files_in_the_wheel():
    """The published files are packaged unchanged, so what was fetched makes the same map as what was installed."""
    from visloc_ros.features.backends import weights

    compared = 0
    for path in (path for folder in weights._package_folders() for path in folder.glob("*.pth")):
        published = remedy((path.stem, f"{path.stem}_v0-1_arxiv", path.stem.removeprefix("disk-")))
        if published:
            (entry,) = find_entries([published.split("'")[1].removeprefix("visloc fetch-weights ")])
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
            compared += 1
    assert compared >= 6


class TestCommand:
    @pytest.fixture
    def run(self, entry, tmp_path, monkeypatch):
        import torch

        from visloc_ros.apps import command_fetch
        from visloc_ros.apps.cli import app
        from visloc_ros.features import fetching

        both = (entry, replace(entry, name="open", file="open.pth", sha256=""))
        for module in (fetching, command_fetch):
            monkeypatch.setattr(module, "catalogue", lambda: both)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        return lambda *arguments: CliRunner().invoke(app, ["fetch-weights", *arguments])

    def test_the_licence_is_shown_before_anything_is_fetched(self, run, tmp_path):
        result = run("toy", "open")
        assert "toy: 0.1 MB, licence: MIT" in result.output
        assert "(verified)" in result.output
        assert isinstance(result.exception, ModelError)
        assert "--accept-unverified" in str(result.exception)
        assert files_in(tmp_path / "hub") == ["checkpoints/toy_v1.pth"]

    def test_consent_fetches_what_cannot_be_verified(self, run):
        result = run("open", "--accept-unverified")
        assert result.exit_code == 0
        assert "(not verified)" in result.output

    def test_the_list_shows_what_is_there(self, run):
        run("toy")
        lines = run("--list").output.splitlines()
        (toy,) = (line for line in lines if " toy " in line)
        (other,) = (line for line in lines if " open " in line)
        assert toy.rstrip().endswith("yes")
        assert "not known" in other
        assert not other.rstrip().endswith("yes")

    def test_no_name_is_refused(self, run):
        assert "--list" in str(run().exception)
