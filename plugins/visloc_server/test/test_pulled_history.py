"""A robot's copy that is pulled, among any other changes of both: nothing is lost, and it is what the server has."""

from functools import partial

from hypothesis.stateful import rule
from test_map_history import COPY, HOW, SERVERS, MapHistory, run

from visloc_ros.core.map_versions import list_versions
from visloc_server.map_files import list_files
from visloc_server.pulling import pull_map


class FolderClient:
    """What a client of a server gives of a map in a folder of it."""

    received = 0

    def __init__(self, folder):
        self._folder = folder

    def map_files(self, name):
        return list_files(self._folder / name)

    def _file(self, name, file, version):
        versions = {one.number: one.folder for one in list_versions(self._folder / name)}
        return versions[version] / file

    def file_part(self, name, file, version, begin, end):
        yield self._file(name, file, version).read_bytes()[begin:end]


def pull_from(server, path):
    pull_map(FolderClient(server), path.name, path)


class PulledHistory(MapHistory):
    """Every map of the robot was pulled."""

    def copy(self):
        self.pull("plain")

    @rule(how=HOW)
    def pull(self, how):
        self.make(SERVERS[0])
        how = "plain" if how == "beside a reader" and not self.exists(COPY) else how
        refused = self.do(how, partial(pull_from, self.path("server"), self.path(COPY)), COPY)
        there, here = self.places[SERVERS[0]], self.places[COPY]
        self.check(COPY, changed={there.present}, is_pull=True)
        if refused == "":
            assert here.bytes[here.present] == there.bytes[there.present]


def test_any_changes_in_any_order_with_pulls(monkeypatch):
    run(PulledHistory, monkeypatch)
