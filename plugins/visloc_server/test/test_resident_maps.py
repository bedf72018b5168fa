"""Maps are loaded as they are asked for, and those not asked for the longest go where memory is short."""

import shutil
import weakref
from pathlib import Path

import pytest
from room_versions import unpacked_room, write_second_version

from visloc_ros.core.errors import MapError
from visloc_ros.core.map_folder import read_entry
from visloc_ros.core.map_versions import roll_back
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.searchable_map import open_searchable_map, reduce_map_to
from visloc_server.resident_maps import MemoryShortError, ResidentMaps, UnknownMapError, memory_bytes

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"
PLENTY = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for name in ("hall", "room", "yard"):
        shutil.copy(DEMO_MAP, folder / f"{name}.tar.gz")
    return folder


def memory_of(path):
    return memory_bytes(read_entry(path))


def resident(maps):
    return {name for name in ("hall", "room", "yard") if maps.is_resident(f"{name}.tar.gz")}


def test_a_map_is_loaded_once_with_the_models_of_the_first_and_the_least_recently_used_one_is_dropped(folder):
    maps = ResidentMaps(folder, 2 * memory_of(folder / "hall.tar.gz"))
    hall, room = maps.engine("hall.tar.gz"), maps.engine("room.tar.gz")
    assert maps.engine("hall.tar.gz") is hall
    assert room.extractor is hall.extractor
    assert resident(maps) == {"hall", "room"}
    del room  # no search uses it any longer
    maps.engine("yard.tar.gz")
    assert resident(maps) == {"hall", "yard"}
    assert len(maps.engine("room.tar.gz").map.images) > 10  # it comes again


def test_another_version_is_searched_from_the_next_search_on_and_a_broken_one_never(tmp_path):
    room = unpacked_room(tmp_path / "room")
    maps = ResidentMaps(tmp_path, PLENTY)
    first = maps.engine("room")
    assert maps.engine("room") is first
    write_second_version(room)
    second = maps.engine("room")
    assert second.map.manifest.version == 2
    assert second.extractor is first.extractor
    roll_back(room)
    assert maps.engine("room").map.manifest.version == 1
    write_second_version(room)
    (room / "features.h5").unlink()
    assert maps.engine("room").map.manifest.version == 1
    assert maps.engine("room").map.manifest.version == 1


@pytest.fixture
def most_at_once(monkeypatch):
    """How many maps were in memory at once, a map that is being opened among them."""
    opened, counts = [], [0]

    def watched(path):
        counts.append(sum(one() is not None for one in opened) + 1)
        place = open_searchable_map(path)
        opened.append(weakref.ref(place))
        return place

    monkeypatch.setattr("visloc_server.resident_maps.open_searchable_map", watched)
    return lambda: max(counts)


def maps_of_three(folder, room_at_most):
    """Three maps, of which so many fit into memory."""
    for name in ("hall", "room", "yard"):
        unpacked_room(folder / name)
    return ResidentMaps(folder, int(room_at_most * memory_of(folder / "hall")))


@pytest.mark.parametrize("room_at_most", [1, 2])
def test_no_more_maps_than_fit_are_in_memory_also_while_one_takes_the_place_of_its_earlier_version(
    tmp_path, most_at_once, room_at_most
):
    maps = maps_of_three(tmp_path, room_at_most + 0.5)
    for name in ("room", "hall"):
        maps.engine(name)
    write_second_version(tmp_path / "hall")
    assert maps.engine("hall").map.manifest.version == 2
    assert most_at_once() == room_at_most


def test_maps_that_streams_still_use_count_and_what_does_not_fit_beside_them_is_refused(tmp_path, most_at_once):
    maps = maps_of_three(tmp_path, 2.5)
    streams = [maps.engine("hall"), maps.engine("room")]
    with pytest.raises(MemoryShortError, match="still use"):
        maps.engine("yard")
    write_second_version(tmp_path / "hall")
    with pytest.raises(MemoryShortError, match="still use"):
        maps.engine("hall")
    streams.pop()  # the one in the room ends
    assert maps.engine("hall").map.manifest.version == 2
    assert streams[0].map.manifest.version == 1
    assert most_at_once() == 2


def test_earlier_versions_on_the_disk_take_no_memory(tmp_path):
    room = unpacked_room(tmp_path / "room")
    before = memory_of(room)
    write_second_version(room)
    assert memory_of(room) < 1.2 * before


def test_a_map_larger_than_the_memory_is_alone(folder):
    maps = ResidentMaps(folder, 1)
    for name in ("hall", "room"):
        maps.engine(f"{name}.tar.gz")
    assert resident(maps) == {"room"}


def test_without_a_name_the_only_map_is_meant(folder, tmp_path):
    with pytest.raises(UnknownMapError, match="say which map"):
        ResidentMaps(folder, PLENTY).engine("")
    with pytest.raises(UnknownMapError, match="there is none"):
        ResidentMaps(tmp_path, PLENTY).engine("")
    shutil.copy(DEMO_MAP, tmp_path / "only.tar.gz")
    assert len(ResidentMaps(tmp_path, PLENTY).engine("").map.images) > 10


@pytest.mark.parametrize("name", ["castle", "../maps/room.tar.gz", "/etc/passwd", ".", "room.tar.gz/..", "\0"])
def test_no_name_leads_elsewhere(folder, name):
    with pytest.raises(UnknownMapError):
        ResidentMaps(folder, PLENTY).engine(name)


def test_a_folder_that_is_not_there_is_no_error_of_who_asks(tmp_path):
    with pytest.raises(MapError):
        ResidentMaps(tmp_path / "no", PLENTY).entries()


def test_maps_that_are_not_prepared_for_a_search_are_searched_by_retrieval(prepared_room, tmp_path):
    path, search = prepared_room
    shutil.copy(path, tmp_path / "prepared.tar.gz")
    shutil.copy(DEMO_MAP, tmp_path / "plain.tar.gz")
    maps = ResidentMaps(tmp_path, PLENTY, AnchorConfig(search=search))
    searches = {name: maps.engine(f"{name}.tar.gz").config.search for name in ("prepared", "plain")}
    assert searches == {"prepared": search, "plain": "retrieval"}


def test_a_reduced_map_is_searched_by_what_it_is_reduced_to(prepared_room, tmp_path):
    path, search = prepared_room
    reduce_map_to(path, search, tmp_path / "small")
    engine = ResidentMaps(tmp_path, PLENTY, AnchorConfig(search="retrieval")).engine("small")
    assert engine.config.search == search
    assert len(engine.map.points) > 0
