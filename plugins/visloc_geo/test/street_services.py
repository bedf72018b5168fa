"""Stand-ins for services of street views, which speak their formats: answer requests, and fail as they do."""

import base64
import hashlib
import hmac
import io
import json
import threading
from collections import Counter
from urllib.parse import parse_qs

import httpx
import numpy as np
from PIL import Image

KEY, SECRET, TOKEN = "AIza-secret+key/1", base64.urlsafe_b64encode(b"signing secret").decode(), "MLY|secret|token"
PHOTO = "https://images.example.net"


def jpeg(width=64, height=64, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(written, "JPEG")
    return written.getvalue()


class Network(httpx.MockTransport):
    """Gives answers as a network does: their bodies can be read once."""

    def handle_request(self, request):
        answer = super().handle_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=iter([answer.content]))


class Service:
    """Counts what is asked; ``faults`` are first answers to addresses that hold their key."""

    def __init__(self):
        self.asked, self.addresses, self.faults = Counter(), [], {}
        self._lock = threading.Lock()

    @property
    def transport(self):
        return Network(self)

    def __call__(self, request):
        with self._lock:
            self.asked[request.url.path] += 1
            self.addresses.append(str(request.url))
            for part, answers in self.faults.items():
                if part in str(request.url) and answers:
                    fault = answers.pop(0)
                    if isinstance(fault, Exception):
                        raise fault
                    return fault
        values = {key: found[0] for key, found in parse_qs(request.url.query.decode()).items()}
        return self.answer(request, values)


class Google(Service):
    """Panoramas at given places by identifier; height of the ground from latitude and longitude."""

    def __init__(self, places, indoors=()):
        super().__init__()
        self.places, self.indoors = places, set(indoors)

    def answer(self, request, values):
        path = request.url.path
        if values.get("key") != KEY or not self.is_signed(request):
            return json_answer({"status": "REQUEST_DENIED", "error_message": f"The key {values.get('key')} is invalid"})
        if path == "/maps/api/streetview/metadata":
            return self.metadata(values)
        if path == "/maps/api/streetview":
            width, height = map(int, values["size"].split("x"))
            is_known = values["pano"] in self.places and float(values["fov"]) <= 120
            return httpx.Response(200, content=jpeg(width, height)) if is_known else httpx.Response(404)
        locations = [tuple(map(float, one.split(","))) for one in values["locations"].split("|")]
        assert len(locations) <= 512
        assert len(str(request.url)) <= 16384
        found = [{"elevation": self.ground(*at), "location": {"lat": at[0], "lng": at[1]}} for at in locations]
        return json_answer({"status": "OK", "results": found})

    @staticmethod
    def is_signed(request):
        text = request.url.raw_path.decode()
        unsigned, _, signature = text.partition("&signature=")
        key = base64.urlsafe_b64decode(SECRET)
        return signature == base64.urlsafe_b64encode(hmac.new(key, unsigned.encode(), hashlib.sha1).digest()).decode()

    @staticmethod
    def ground(lat, lng):
        return round(100.0 * (lat - 59.0) + 10.0 * lng, 3)

    def metadata(self, values):
        at = np.array([float(value) for value in values["location"].split(",")])
        known = [name for name in self.places if name not in self.indoors or values.get("source") != "outdoor"]
        away = {name: np.linalg.norm((self.places[name] - at) * [111320.0, 55660.0]) for name in known}
        name = min(away, key=away.get, default=None)
        if name is None or away[name] > float(values["radius"]):
            return json_answer({"status": "ZERO_RESULTS"})
        lat, lng = self.places[name]
        place = {"pano_id": name, "location": {"lat": lat, "lng": lng}}
        return json_answer({"status": "OK", "copyright": "© Google", "date": "2021-07", **place})


class Mapillary(Service):
    """Photos by identifier, as the graph describes them; the addresses of their images are good for one request."""

    def __init__(self, photos, limit=2000):
        super().__init__()
        self.photos, self.limit, self.valid = photos, limit, set()

    def answer(self, request, values):
        if request.url.host == "images.example.net":
            with self._lock:
                if str(request.url) not in self.valid:
                    return httpx.Response(403, text="URL signature expired")
                self.valid.remove(str(request.url))
            photo = self.photos[request.url.path.split("/")[1]]
            return httpx.Response(200, content=jpeg(photo.get("width", 64), photo.get("height", 48)))
        if request.headers.get("Authorization") != f"OAuth {TOKEN}":
            error = {"type": "OAuthException", "code": 190, "message": "Invalid OAuth access token"}
            return httpx.Response(400, content=json.dumps({"error": error}, separators=(",", ":")))
        fields = values["fields"].split(",")
        if request.url.path == "/images":
            return self.tile(values, fields)
        name = request.url.path[1:]
        if name not in self.photos:
            return httpx.Response(400, text="Object with ID does not exist")
        return json_answer(self.addresses_of(name, fields))

    def tile(self, values, fields):
        west, south, east, north = map(float, values["bbox"].split(","))
        assert (east - west) * (north - south) < 0.01
        inside = [
            {"id": name, **{field: photo[field] for field in fields if field in photo}}
            for name, photo in self.photos.items()
            if west <= photo["geometry"]["coordinates"][0] < east
            and south <= photo["geometry"]["coordinates"][1] < north
        ]
        return json_answer({"data": inside[: min(self.limit, int(values["limit"]))]})

    def addresses_of(self, name, fields):
        found = {"id": name}
        for field in fields:
            if field in self.photos[name].get("sizes", ("thumb_2048_url", "thumb_original_url")):
                address = f"{PHOTO}/{name}/{len(self.addresses)}.jpg?oh=signed"
                self.valid.add(address)
                found[field] = address
        return found


class KartaView(Service):
    """Pages of photos, numbers as text as its answers have them."""

    def __init__(self, count, per_page=500):
        super().__init__()
        self.count, self.per_page = count, per_page

    def answer(self, request, values):
        if request.url.host == "images.example.net":
            return httpx.Response(200, content=jpeg(80, 60))
        first = (int(values["page"]) - 1) * self.per_page
        numbers = range(first, min(self.count, first + self.per_page))
        if not numbers:
            return json_answer({"status": {"apiCode": "601", "apiMessage": "An empty list"}, "result": {}})
        found = [
            {
                "id": str(number),
                "lat": f"{60.0 + 1e-5 * number}",
                "lng": "10.0",
                "heading": "90.0",
                "fileurlProc": f"{PHOTO}/{number}.jpg",
                "projection": "PLANE",
                "fieldOfView": "60" if number else None,
                "shotDate": "2019-05-01 10:00:00",
                "sequence": {"username": "someone"},
            }
            for number in numbers
        ]
        more = first + self.per_page < self.count
        return json_answer({"status": {"apiCode": "600"}, "result": {"data": found, "hasMoreData": more}})


def json_answer(values):
    return httpx.Response(200, content=json.dumps(values))
