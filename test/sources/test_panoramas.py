"""Images of all directions, and others that look a little like them."""

import av
import cv2
import numpy as np
import pytest
from source_data import colour_image, encode, shared_data

from visloc_ros.core.errors import SourceError
from visloc_ros.sources import open_source

WIDTH, HEIGHT = 512, 256


@pytest.fixture(scope="module")
def panorama():
    return seen_in_every_direction()


def seen_in_every_direction():
    """A world of waves, seen in every direction."""
    random = np.random.default_rng(2)
    longitude = (np.arange(WIDTH) + 0.5) / WIDTH * 2.0 * np.pi
    latitude = np.pi * (0.5 - (np.arange(HEIGHT) + 0.5) / HEIGHT)[:, None]
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    directions = np.stack([x, y, np.broadcast_to(np.sin(latitude), x.shape)], axis=-1)
    waves = np.cos(directions @ random.normal(0.0, 8.0, (3, 30)) + random.uniform(0.0, 6.0, 30))
    colours = waves @ random.normal(0.0, 1.0, (30, 3))
    return np.clip(128.0 + 20.0 * colours, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [60, 95])
def test_panoramas_are_refused_with_a_way_out(tmp_path, panorama, quality):
    for index in range(3):
        turned = np.roll(panorama, 100 * index, axis=1)
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), turned, [cv2.IMWRITE_JPEG_QUALITY, quality])
    with pytest.raises(SourceError, match=r"panoramas of all directions .*: cut .* as by 'ffmpeg"):
        list(open_source(tmp_path))


def test_videos_of_panoramas_are_refused(tmp_path, panorama):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(3):
            turned = np.ascontiguousarray(np.roll(panorama, index, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(turned)))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="panoramas of all directions"):
        list(open_source(tmp_path / "a.mp4"))


@pytest.mark.parametrize("projection", ["equirectangular", "cylindrical"])
def test_a_photo_says_itself_that_it_is_a_panorama(tmp_path, projection):
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description GPano:ProjectionType="%s"/>' % projection.encode()
    jpeg = encode(colour_image(0, 300, 100), ".jpg")
    data = jpeg[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + jpeg[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(SourceError, match=rf"it is a panorama \({projection}\)"):
        open_source(tmp_path)


def ordinary(kind):
    image = colour_image(3, WIDTH, HEIGHT)
    if kind == "black bars":
        image[:30], image[-30:], image[:, :40], image[:, -40:] = 0, 0, 0, 0
    elif kind == "letterbox":
        image[:30], image[-30:] = 0, 0
    elif kind == "sky and floor":
        image[:80], image[-80:] = 200, 60
    elif kind == "grey":
        image = image[..., 0]
    return image


@pytest.mark.parametrize("kind", ["plain", "grey", "black bars", "letterbox", "sky and floor"])
def test_images_twice_as_wide_as_high_are_no_panoramas_by_that(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(encode(ordinary(kind), ".png"))
    assert len(list(open_source(tmp_path))) == 1


@pytest.mark.parametrize("name", ["7scenes_redkitchen/rgb", "euroc_mh05/cam0", "kitti_06"])
def test_real_images_are_no_panoramas(tmp_path, name):
    folder = shared_data(name.split("/")[0])
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))[::25]
    for index, file in enumerate(files):
        image = cv2.imread(str(file))
        half = min(image.shape[0], image.shape[1] // 2)
        (tmp_path / f"{index}").mkdir()
        cv2.imwrite(str(tmp_path / f"{index}" / "a.png"), image[:half, : 2 * half])
        assert len(list(open_source(tmp_path / f"{index}"))) == 1
