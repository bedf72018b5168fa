import json

import cv2
import numpy as np
import pytest
from visloc_command import visloc

from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.view import View
from visloc_ros.core.camera import camera_from_params
from visloc_ros.sources.measurements import GeoPosition


def wall(seed):
    rng = np.random.default_rng(seed)
    image = np.full((120, 160, 3), 150, np.uint8)
    for _ in range(40):
        (x, y), (w, h) = rng.integers(0, (160, 120)), rng.integers(6, 30, 2)
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(0, 255, 3).tolist(), -1)
    return image


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    database = GeoDatabase.create(tmp_path_factory.mktemp("geo") / "streets")
    camera = camera_from_params("PINHOLE", 160, 120, [150.0, 150.0, 80.0, 60.0])
    for seed in range(2):
        encoded = cv2.imencode(".jpg", wall(seed))[1].tobytes()
        database.add(View(f"wall{seed}", GeoPosition(55.7, 13.2 + 1e-4 * seed), camera=camera), encoded)
    describe_globally(database)
    return database.folder


def test_photos_that_are_not_located_get_a_reason_and_the_map_is_drawn(streets, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, image in {"plain.png": np.full((120, 160, 3), 90, np.uint8), "other.png": wall(9)}.items():
        cv2.imwrite(str(photos / name), image)
    page = tmp_path / "answers.html"
    finished = visloc("geo", "locate", streets, photos, photos / "plain.png", "--json", "--use-gps", "--map", page)
    assert finished.exit_code == 0, finished.output
    figures = json.loads(finished.stdout)
    assert (figures["photos"], figures["located"]) == (3, 0)
    reasons = {one["name"]: one["reason"] for one in figures["answers"]}
    assert reasons["plain.png"] == "FEW_FEATURES"
    assert "plain.png  FEW_FEATURES: the photo shows too little" in finished.stderr
    assert "wall0" in page.read_text(encoding="utf-8")


def test_a_missing_database_is_an_error(tmp_path):
    finished = visloc("geo", "locate", tmp_path / "none", tmp_path)
    assert finished.exit_code == 1
    assert "there is no database" in str(finished.exception)
