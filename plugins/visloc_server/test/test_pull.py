"""Robots' copies of a server's map: what one place learns reaches all, byte for byte, and nothing else does."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_map import MANIFEST, synthetic_parts
from typer.testing import CliRunner

from plugins.visloc_server.testing.server_process import running
from visloc_ros.apps.cli import app
from visloc_ros.apps.console import console
from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.geometry import Sim3, rotation_matrix
from visloc_ros.core.manifest import ReducedInfo, read_manifest, write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_layout import PAGING_NAME
from visloc_ros.core.map_versions import MOST_VERSIONS, changed_folder, list_versions, roll_back, successor
from visloc_ros.core.map_writer import save_map, write_map
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_server.client import LocalizationClient, ServerError
from visloc_server.pulling import pull_map

PARTS = synthetic_parts(256)


def parts(day):
    """The parts of a map, of which each day changes the features of one image."""
    reconstruction, features, descriptors, centroids = PARTS
    first = min(features)
    changed = replace(features[first], scores=features[first].scores + np.float32(day))
    return reconstruction, {**features, first: changed}, descriptors, centroids


def update(path, session, day):
    """Write another version of a map in its place, as ``update_map`` does."""
    before = open_map(path).manifest
    with changed_folder(path, before, path, overwrite=True) as folder:
        sessions = [*before.sessions, {"name": session}]
        write_map(folder, *parts(day), successor(replace(MANIFEST, sessions=sessions), path, before, "update"))
        (folder / "map.html").write_text(session)


def contents(folder):
    """The map's files, without its earlier versions and what is made again."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {name: (folder / name).read_bytes() for name in names if name.parts[0] not in ("versions", PAGING_NAME)}


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def server(maps):
    with running(maps) as server:
        yield server


@pytest.fixture
def client(server):
    with LocalizationClient(str(server.client.base_url)) as client:
        yield client


@pytest.fixture
def there(maps):
    """A map of the server, of a version that it was built as."""
    path = maps / "room"
    shutil.rmtree(path, ignore_errors=True)
    save_map(path, *parts(1), MANIFEST)
    return path


@pytest.fixture
def here(there, tmp_path):
    """A robot's copy of it."""
    return shutil.copytree(there, tmp_path / "room")


class TestPull:
    def test_an_update_reaches_the_robots_byte_for_byte_and_what_they_have_does_not_travel(
        self, there, here, tmp_path, client
    ):
        before = contents(here)
        update(there, "monday", 2)
        report = pull_map(client, "room", here)
        assert contents(here) == contents(there)
        assert contents(here / "versions" / "1") == before
        assert (report.version, report.files, report.size) == (2, len(contents(there)), _size(there))
        assert 0 < report.new_files < report.files
        assert report.received < report.size

        received = client.received
        again = pull_map(client, "room", here)
        assert (again.new_files, contents(here)) == (0, contents(there))
        assert again.received - received < 3000  # the list of files

        fresh = pull_map(client, "room", tmp_path / "fresh")
        assert (fresh.new_files, contents(tmp_path / "fresh")) == (fresh.files, contents(there))

    def test_an_old_copy_is_of_the_same_map_after_more_updates_than_versions_are_kept(self, there, here, client):
        for count in range(MOST_VERSIONS + 2):
            update(there, f"day {count}", 3 + count)
        assert 1 not in {one.number for one in list_versions(there)}
        pull_map(client, "room", here)
        assert contents(here) == contents(there)

    def test_an_aligned_map_reaches_the_robots_with_the_transform_from_the_frame_before(self, there, here, client):
        before, turn = (
            read_manifest(here).frame,
            Sim3(1.0, rotation_matrix([0.0, 0.0, 0.7]), np.array([3.0, -2.0, 0.5])),
        )
        fit = MapFit(turn, "a test", {}, metric=True, gravity_aligned=False)
        align_map(there, there, lambda _: fit, overwrite=True)
        pull_map(client, "room", here)
        assert contents(here) == contents(there)
        np.testing.assert_allclose(read_manifest(here).frame.from_frame(before) @ np.eye(3), turn @ np.eye(3))

    def test_a_rollback_of_the_server_reaches_the_robots_without_any_file(self, there, here, client):
        update(there, "monday", 2)
        pull_map(client, "room", here)
        roll_back(there)
        report = pull_map(client, "room", here)
        assert (report.version, report.new_files) == (1, 0)
        assert contents(here) == contents(there)
        assert [(one.number, one.is_present) for one in list_versions(here)] == [(1, True), (2, False)]

    def test_the_command_pulls_and_tells_what_came(self, there, here, server):
        update(there, "monday", 2)
        finished = CliRunner().invoke(app, ["maps", "pull", str(server.client.base_url), str(here), "--json"])
        assert finished.exit_code == 0, finished.output
        report = json.loads(finished.stdout)
        assert (report["version"], contents(here)) == (2, contents(there))
        assert not console.stderr  # words of what this process prints next are not aside


def _size(folder):
    return sum(map(len, contents(folder).values()))


class TestRefusal:
    @pytest.fixture(autouse=True)
    def updated(self, here, there):
        """What the robot has is older."""
        update(there, "monday", 2)

    def test_another_map(self, tmp_path, client):
        save_map(tmp_path / "other", *synthetic_parts(32), MANIFEST)
        before = contents(tmp_path / "other")
        with pytest.raises(ConfigError, match="is another map than the server's"):
            pull_map(client, "room", tmp_path / "other")
        assert contents(tmp_path / "other") == before

    def test_a_copy_that_was_reduced(self, here, client):
        manifest = read_manifest(here)
        reduced = replace(manifest, prepared={"fused": {}}, reduced=ReducedInfo("fused", manifest.files))
        write_manifest(here, reduced)
        with pytest.raises(ConfigError, match="is reduced to one way of searching"):
            pull_map(client, "room", here)
        assert read_manifest(here) == reduced

    def test_an_own_update_until_it_is_taken_back(self, there, here, client):
        update(here, "own", 7)
        with pytest.raises(ConfigError, match="has a change that the server lacks"):
            pull_map(client, "room", here)
        roll_back(here)
        pull_map(client, "room", here)
        assert contents(here) == contents(there)
        assert [one.number for one in list_versions(here)] == [1, 2]

    def test_a_file_that_is_broken_there(self, there, here, client):
        before = contents(here)
        path = there / "features.h5"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(MapError, match=r"'features\.h5' did not come as it should be"):
            pull_map(client, "room", here)
        assert contents(here) == before
        path.write_bytes(whole)
        pull_map(client, "room", here)
        assert contents(here) == contents(there)

    def test_a_file_that_is_broken_here_is_fetched(self, there, here, client):
        path = here / "vlad.h5"
        path.write_bytes(bytes(path.stat().st_size))
        pull_map(client, "room", here)
        assert contents(here) == contents(there)

    def test_files_that_do_not_belong_together(self, there, here, client):
        manifest = json.loads((there / "manifest.json").read_text())
        (there / "manifest.json").write_text(json.dumps(manifest | {"version": 5}))
        listed = client.map_files("room")
        client.map_files = lambda _: replace(listed, model="0" * 64)
        with pytest.raises(MapError, match="do not belong together"):
            pull_map(client, "room", here)

    @pytest.mark.parametrize("name", ["../evil", "/etc/evil", "versions/1/manifest.json", "a/../../evil", ""])
    def test_a_name_that_no_file_of_a_map_has(self, here, client, name):
        listed = client.map_files("room")
        evil = {**listed.files, name: listed.files["manifest.json"]}
        client.map_files = lambda _: replace(listed, files=evil)
        with pytest.raises(MapError, match="that no map has"):
            pull_map(client, "room", here)

    def test_a_map_that_is_not_there(self, tmp_path, client):
        with pytest.raises(ServerError, match="no map 'castle'"):
            pull_map(client, "castle", tmp_path / "castle")
        assert [path.name for path in tmp_path.iterdir()] == ["room"]

    @pytest.mark.parametrize("path", ["../room2/manifest.json", "%2e%2e/other/manifest.json", "absent.h5"])
    def test_the_server_gives_no_files_but_the_maps(self, server, maps, path):
        (maps / "other").mkdir(exist_ok=True)
        (maps / "other" / "manifest.json").write_text("{}")
        answer = server.client.get(f"/reference/maps/room/files/{path}", params={"version": 2})
        assert answer.status_code == 404, answer.text
        assert server.client.get("/reference/maps/room/files/map.html", params={"version": 7}).status_code == 404

    def test_the_server_gives_nothing_of_a_version_that_is_a_link_out_of_the_map(self, there, server, tmp_path):
        other = shutil.copytree(there, tmp_path / "other")
        (other / "map.html").write_text("secret")
        write_manifest(other, replace(read_manifest(other), version=9))
        (there / "versions" / "9").symlink_to(other)
        answer = server.client.get("/reference/maps/room/files/map.html", params={"version": 9})
        assert answer.status_code >= 400
        assert server.client.get("/reference/maps/room/files/versions/9/map.html?version=2").status_code == 404


class TestInterruption:
    @pytest.mark.parametrize("name", ["room", "new"])
    def test_a_pull_goes_on_where_it_was_interrupted(self, there, here, client, monkeypatch, name):
        """In the middle of a file."""
        update(there, "monday", 2)
        before, path, file_part = contents(here), here.with_name(name), client.file_part

        def break_off(name, file, version, begin, end):
            if file != "features.h5" or end - begin < 1000:
                yield from file_part(name, file, version, begin, end)
                return
            yield next(file_part(name, file, version, begin, end))[: (end - begin) // 2]
            raise ServerError("the connection broke off")

        monkeypatch.setattr(client, "file_part", break_off)
        with pytest.raises(ServerError, match="broke off"):
            pull_map(client, "room", path)
        assert (contents(here), name == "room") == (before, path.exists())
        monkeypatch.undo()
        received, arrived = client.received, _arrived(path)
        pull_map(client, "room", path)
        assert contents(path) == contents(there)
        assert client.received - received < _size(there) - arrived + 10_000  # the list of files
        assert not _folder_of_arrivals(path).exists()

    def test_what_came_of_other_versions_does_not_add_up(self, there, here, client, monkeypatch):
        file_part, sizes = client.file_part, []

        def break_off(*arguments):
            yield from file_part(*arguments)
            if arguments[1] == "map.html":  # the last one
                raise ServerError("the connection broke off")

        monkeypatch.setattr(client, "file_part", break_off)
        for day in range(2, 6):
            update(there, f"day {day}", day)
            with pytest.raises(ServerError, match="broke off"):
                pull_map(client, "room", here)
            sizes.append(_arrived(here))
        assert max(sizes) < 1.1 * min(sizes)

    def test_a_map_that_changes_meanwhile_stays_as_it_is_then(self, there, here, client, monkeypatch):
        update(there, "monday", 2)
        file_part, once = client.file_part, []

        def update_meanwhile(*arguments):
            if not once:
                once.append(update(here, "own", 7))
            yield from file_part(*arguments)

        monkeypatch.setattr(client, "file_part", update_meanwhile)
        with pytest.raises(MapError, match="has changed meanwhile"):
            pull_map(client, "room", here)
        assert open_map(here).manifest.sessions[-1]["name"] == "own"

    def test_two_pulls_at_once(self, there, here, client, monkeypatch):
        update(there, "monday", 2)
        with LocalizationClient(client._url) as second:
            file_part = client.file_part

            def pull_again(*arguments):
                with pytest.raises(OutputError, match="another process is just pulling"):
                    pull_map(second, "room", here)
                yield from file_part(*arguments)

            monkeypatch.setattr(client, "file_part", pull_again)
            pull_map(client, "room", here)
        assert contents(here) == contents(there)


def _folder_of_arrivals(path):
    return path.with_name(f".{path.name}.pulled")


def _arrived(path):
    return sum(file.stat().st_size for file in _folder_of_arrivals(path).iterdir())
