"""Uploaded images: photos of phones are read as in a folder, and what is too large is refused undecoded."""

import cv2
import numpy as np
import pytest
from test_heic_photos import FOCAL_PX, HEIC, HEIGHT, WIDTH, with_size
from test_panoramas import seen_in_every_direction

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import SourceError
from visloc_ros.sources.photos import decode_photo, read_photo_header
from visloc_server.uploads import pinhole, read_upload


def test_a_heic_has_the_focal_length_of_its_exif_data_or_the_one_that_is_given():
    data = HEIC.read_bytes()
    frame = read_upload(data)
    assert frame.calibration.source is CalibrationSource.EXIF
    assert frame.camera.mean_focal_length() == pytest.approx(FOCAL_PX)
    np.testing.assert_array_equal(frame.image, decode_photo(read_photo_header(data), data))
    given = read_upload(data, pinhole(185.0, 185.0, 96.0, 128.0))
    assert (given.camera.width, given.camera.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(given.image, frame.image)


@pytest.mark.parametrize(("width", "height"), [(60_000, 50_000), (20_000, 64), (8192, 8193), (8192, 8192 * 2)])
def test_sizes_that_no_camera_has_are_refused_undecoded(width, height, monkeypatch):
    monkeypatch.setattr("visloc_ros.sources.photos.decode_heif", lambda data: pytest.fail("it was decoded"))
    with pytest.raises(SourceError):
        read_upload(with_size(width, height))


def test_a_panorama_is_refused():
    _, data = cv2.imencode(".jpg", seen_in_every_direction())
    with pytest.raises(SourceError, match="panoramas of all directions"):
        read_upload(data.tobytes())
