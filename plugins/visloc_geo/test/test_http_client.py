import gzip
import http.server
import io
import itertools
import logging
import threading

import httpx
import pytest
from PIL import Image
from street_services import KEY, TOKEN, Service, jpeg, json_answer

from visloc_geo.providers.base import fetch_image
from visloc_geo.providers.cost import Budget, Cost, StopError
from visloc_geo.providers.credentials import Secret, read_secret
from visloc_geo.providers.http import HttpClient, HttpError
from visloc_geo.providers.threads import in_threads
from visloc_ros.core.errors import ConfigError, GeoError

URL = "https://example.net/path"


class Echo(Service):
    def answer(self, request, values):
        return json_answer({"asked": values})


@pytest.fixture
def service():
    return Echo()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(service, waits):
    return HttpClient(Budget(), [Secret(KEY), Secret(TOKEN)], service.transport, waits.append)


@pytest.mark.parametrize(
    "fault",
    [
        httpx.Response(429),
        httpx.Response(503),
        httpx.Response(500),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("no route"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
    ],
)
def test_what_fails_for_now_is_tried_again_after_growing_delays(client, service, waits, fault):
    service.faults["path"] = [fault] * 3
    assert client.get_json(URL, params={"a": 1}) == {"asked": {"a": "1"}}
    assert client.budget.spent.requests == 4
    assert len(waits) == 3
    assert all(0.5 * 0.5 * 2**index <= wait <= 0.5 * 1.5 * 2**index for index, wait in enumerate(waits))


def test_the_service_can_ask_for_a_longer_delay_up_to_a_minute(client, service, waits):
    dates = "Wed, 21 Oct 2115 07:28:00 GMT"
    service.faults["path"] = [httpx.Response(429, headers={"Retry-After": after}) for after in ("7", dates, "soon")]
    client.get_json(URL)
    assert waits[:2] == [7.0, 60.0]
    assert waits[2] < 5.0


def test_attempts_are_bounded(client, service, waits):
    service.faults["path"] = [httpx.Response(503, text="down")] * 99
    with pytest.raises(HttpError, match="answers 503: down"):
        client.get(URL)
    assert (service.asked["/path"], len(waits)) == (5, 4)


def test_what_fails_for_good_is_not_tried_again(client, service, waits):
    service.faults["path"] = [httpx.Response(404)]
    with pytest.raises(HttpError) as error:
        client.get(URL)
    assert (error.value.status, service.asked["/path"], waits) == (404, 1, [])


def test_no_more_bytes_come_than_are_permitted(client, service):
    service.faults["path"] = [httpx.Response(200, content=b"x" * 2_000_001)]
    with pytest.raises(HttpError, match="more than 2 MB"):
        client.get(URL, at_most=2_000_000)


def test_what_would_fill_the_memory_is_neither_unpacked_nor_read(client, service, waits):
    bomb = gzip.compress(bytes(8 << 20))
    packed = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([bomb]))
    )
    with pytest.raises(HttpError, match="packs its answer"):
        HttpClient(Budget(), transport=packed, sleep=waits.append).get(URL)
    service.faults["path"] = [httpx.Response(200, text=f"[{'[],' * 1_000_000}0]")]
    with pytest.raises(HttpError, match="gives no JSON"):
        client.get_json(URL)


def test_limits_stop_before_they_are_exceeded(service):
    client = HttpClient(Budget(3), transport=service.transport)
    for _ in range(3):
        client.get(URL)
    with pytest.raises(StopError, match="--max-requests 3"):
        client.get(URL)
    client = HttpClient(Budget(max_usd=0.021), transport=service.transport)
    for _ in range(3):
        client.get(URL, usd=0.007)
    with pytest.raises(StopError, match=r"--max-usd 0.02 \(0.021 USD are spent\)"):
        client.get(URL, usd=0.007)
    assert service.asked["/path"] == 6
    assert client.budget.spent == Cost(3, pytest.approx(0.021))


def test_repeated_attempts_count_towards_a_limit(service, waits):
    service.faults["path"] = [httpx.Response(503)] * 9
    with pytest.raises(StopError):
        HttpClient(Budget(2), transport=service.transport, sleep=waits.append).get(URL)
    assert service.asked["/path"] == 2


def test_an_image_that_is_cut_off_is_asked_for_again_and_then_reported(client, service):
    whole = jpeg()
    service.faults["path"] = [httpx.Response(200, content=whole[:-100]), httpx.Response(200, content=whole)]
    assert fetch_image(client, URL) == whole
    service.faults["path"] = [httpx.Response(200, content=whole[:-100])] * 2
    with pytest.raises(GeoError, match="broken, twice"):
        fetch_image(client, URL)
    assert service.asked["/path"] == 4


def test_an_answer_that_breaks_off_is_asked_for_again(waits):
    """Of a real server, which closes the connection before all bytes that it announced."""
    whole, asked = jpeg(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole if len(asked) > 1 else whole[:100])

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = HttpClient(Budget(), sleep=waits.append)
        assert fetch_image(client, f"http://127.0.0.1:{server.server_port}/a.jpg") == whole
        server.shutdown()
    assert (asked, len(waits)) == (["/a.jpg"] * 2, 1)


def test_what_was_asked_for_before_a_limit_is_given_all_the_same():
    begun, all_run = [], threading.Barrier(4)

    def work(item):
        begun.append(item)
        if item < 4:
            all_run.wait(60)
        if item == 0:
            raise StopError("enough")
        if item == 1:
            raise GeoError("this one alone")
        return 10 * item

    given = {}
    with pytest.raises(StopError, match="enough"):
        given.update(in_threads(work, itertools.count(), workers=4))
    assert isinstance(given.pop(1), GeoError)
    assert sorted(given) == sorted(set(begun) - {0, 1})
    assert all(result == 10 * item for item, result in given.items())


def test_a_png_becomes_a_jpeg(client, service):
    written = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(written, "PNG")
    service.faults["path"] = [httpx.Response(200, content=written.getvalue())]
    assert fetch_image(client, URL).startswith(b"\xff\xd8")


def test_no_key_is_shown(client, service, caplog):
    caplog.set_level(logging.DEBUG)
    words = [f"key {KEY} is wrong", "AIza-secret%2Bkey%2F1", TOKEN]
    for word in words:
        service.faults["path"] = [httpx.Response(503, text=word), httpx.Response(400, text=word)]
        with pytest.raises(HttpError) as error:
            client.get(URL, params={"key": KEY}, headers={"Authorization": f"OAuth {TOKEN}"})
        assert "***" in str(error.value)
        caplog.messages.append(str(error.value))
        assert error.value.__cause__ is None or KEY not in repr(error.value.__cause__)
    shown = " ".join([*caplog.messages, repr(Secret(KEY)), f"{Secret(KEY)}"])
    assert "secret" not in shown
    assert "trying again" in caplog.text


def test_a_refused_key_stops_everything(client, service):
    service.faults["path"] = [httpx.Response(401, text=f"no such token {TOKEN}")]
    with pytest.raises(StopError, match=r"refuses the key: .*\*\*\*"):
        client.get_json(URL)


def test_keys_are_read_from_a_file_of_its_owner_or_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "google.yaml"
    path.write_text(f"api-key: {KEY}\n")
    path.chmod(0o600)
    monkeypatch.setenv("SOME_KEY", "other")
    assert read_secret("SOME_KEY", "api-key", path).value == KEY
    assert read_secret("SOME_KEY", "missing", path).value == read_secret("SOME_KEY", "api-key", None).value == "other"
    monkeypatch.delenv("SOME_KEY")
    assert not read_secret("SOME_KEY", "api-key", None)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_of_keys_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "google.yaml"
    path.write_text(f"api-key: {KEY}\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as error:
        read_secret("SOME_KEY", "api-key", path)
    assert KEY not in str(error.value)
