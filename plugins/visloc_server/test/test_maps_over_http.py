"""Maps are taken home and deleted over HTTP, each whole or not at all."""

import shutil

import pytest
from test_serve import DEMO_MAP, INTRINSICS, asked_here, jpeg, post

from visloc_ros.core.map import open_map
from visloc_server.app import make_app
from visloc_server.config import ServerConfig


@pytest.fixture
def own_maps(maps, tmp_path):
    """The maps that all servers share, to be changed, one of them under a strange name."""
    shutil.copytree(maps, tmp_path, dirs_exist_ok=True)
    (tmp_path / "room").rename(tmp_path / 'my "room" ü')
    return tmp_path


def test_maps_come_whole_and_are_deleted(own_maps, tmp_path_factory):
    with asked_here(make_app(ServerConfig(own_maps))) as client:
        home = tmp_path_factory.mktemp("home")
        for name in ('my "room" ü', "hall.tar.gz"):
            answer = client.get(f"/reference/maps/{name}")
            assert answer.headers["content-type"] == "application/gzip"
            (home / "reference.tar.gz").write_bytes(answer.content)
            assert len(open_map(home / "reference.tar.gz").images) == len(open_map(DEMO_MAP).images)
        assert (home / "reference.tar.gz").read_bytes() == DEMO_MAP.read_bytes()

        assert post(client, jpeg(), map='my "room" ü', **INTRINSICS).json()["success"]
        broken = client.get("/reference/maps/broken")
        assert (broken.status_code, str(own_maps) in broken.text) == (500, False)
        assert (
            client.delete("/reference/maps/hall.tar.gz", headers={"Origin": "http://evil.example"}).status_code == 403
        )
        for name in ('my "room" ü', "broken"):
            assert client.delete(f"/reference/maps/{name}").status_code == 204
            assert client.delete(f"/reference/maps/{name}").status_code == 404
        assert post(client, jpeg(), map='my "room" ü', **INTRINSICS).status_code == 404
        assert sorted(path.name for path in own_maps.iterdir()) == ["hall.tar.gz", "notes.txt"]


def test_a_scene_whose_folder_holds_its_packed_map_is_searched_given_and_deleted(tmp_path):
    (tmp_path / "scene").mkdir()
    shutil.copy(DEMO_MAP, tmp_path / "scene" / "reference.tar.gz")
    (tmp_path / "scene" / "video.mp4").write_text("mine")
    with asked_here(make_app(ServerConfig(tmp_path))) as client:
        assert [one["name"] for one in client.get("/reference/status").json()] == ["scene"]
        assert post(client, jpeg(), map="scene", **INTRINSICS).json()["success"]
        assert client.get("/reference/maps/scene").content == DEMO_MAP.read_bytes()
        assert client.delete("/reference/maps/scene").status_code == 204
        assert [path.name for path in (tmp_path / "scene").iterdir()] == ["video.mp4"]


@pytest.mark.parametrize(
    "name", ["notes.txt", "castle", "..", "%2e%2e", "..%2Fmaps0", "%00", "%2Fetc%2Fpasswd", ".visloc_jobs"]
)
def test_what_is_no_map_is_neither_given_nor_deleted(client, name):
    assert client.get(f"/reference/maps/{name}").status_code == 404
    assert client.delete(f"/reference/maps/{name}").status_code == 404
