"""Whatever a constructor of another package tries, nothing is downloaded."""

import socket
import subprocess
import threading
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from visloc_ros.core.errors import ModelError

ADVICE = "copy the files"


def make(what):
    from visloc_ros.features.backends.offline import make_offline

    return make_offline("model", what, ADVICE)


@pytest.fixture
def server():
    """A socket that listens on this machine: what reaches it has passed the guard."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()


def test_what_needs_no_network_is_made():
    assert make(lambda: 42) == 42


def test_an_address_is_refused_and_named():
    with pytest.raises(ModelError, match=r"'model' lacks http://127\.0\.0\.1:9/weights\.bin: copy the files"):
        make(lambda: urlopen("http://127.0.0.1:9/weights.bin"))


def test_published_weights_name_the_command_that_fetches_them():
    with pytest.raises(ModelError, match="run 'visloc fetch-weights superpoint' where"):
        make(lambda: urlopen("https://example.org/mirror/superpoint_v1.pth"))


def test_a_bare_connection_is_refused(server):
    with pytest.raises(ModelError, match=r"lacks 127\.0\.0\.1: copy"):
        make(lambda: socket.create_connection(server))


@pytest.mark.parametrize("program", ["wget", "curl", "git"])
def test_programs_that_download_are_not_started(program):
    with pytest.raises(ModelError, match=f"lacks {program} https://example.org/x"):
        make(lambda: subprocess.run([program, "https://example.org/x"], check=True))


def test_other_programs_may_run():
    assert make(lambda: subprocess.run(["true"], check=True).returncode) == 0


def test_a_fallback_to_local_files_is_taken():
    """As torch.hub does, which asks the network for a branch and then looks for what it has."""

    def branch():
        try:
            urlopen("https://example.org/tree/main")
        except URLError:
            return "main, from the folder"
        return "main, from the network"

    assert make(branch) == "main, from the folder"


def test_other_failures_give_their_reason():
    def fail():
        raise KeyError("encoder.weight")

    with pytest.raises(ModelError, match=r"'model' cannot be made: KeyError: 'encoder\.weight'"):
        make(fail)


def test_other_threads_and_later_calls_keep_their_network(server):
    def connect():
        socket.create_connection(server).close()
        reached.append(True)

    def make_beside():
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()

    reached = []
    make(make_beside)
    connect()
    assert reached == [True, True]
