"""Masks of map images from files: what they say of points, and what is wrong with broken ones."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.map import NO_POINT, open_map
from visloc_search.instances.mask_files import (
    CLASSES_NAME,
    labels_of_files,
    mask_colours,
    read_classes,
)

COLOURS = {1: 65536 * 200 + 256 * 30 + 7, 2: 5}  # of classes
CLASSES = f"0 0\n{COLOURS[1]} 1\n{COLOURS[2]} 2\n"


@pytest.fixture(scope="module")
def place(instance_room):
    """The demo's map of four images only, so that a fault costs little."""
    whole = open_map(instance_room)
    return replace(whole, images=whole.images[:4])


@pytest.fixture
def masks(place, tmp_path):
    """Masks of its images, in another size than these, class 1 left and class 2 right, and a strip of no listed one."""
    ids = np.zeros((30, 64), np.uint32)
    ids[:, :32], ids[:, 32:], ids[:3] = COLOURS[1], COLOURS[2], 4711
    for image in place.images:
        write(tmp_path / f"{image.name.rpartition('.')[0]}.png", ids)
    (tmp_path / CLASSES_NAME).write_text(CLASSES)
    return tmp_path


def write(path, ids):
    rgb = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def test_a_point_has_the_instance_that_most_of_its_images_show(place, masks):
    labels, found = labels_of_files(place, masks)
    votes = np.zeros((len(place.points), 3), int)
    for image in place.images:
        for row, (x, y) in zip(image.point_rows, image.features.keypoints, strict=True):
            if row != NO_POINT:
                listed = int(30 * y / image.camera.height) >= 3
                votes[row, (1 if x < image.camera.width / 2 else 2) if listed else 0] += 1
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]
    assert clear.sum() > 100
    assert np.array_equal(labels[clear], votes.argmax(axis=1)[clear])
    assert not labels[votes.sum(axis=1) == 0].any()
    assert set(np.unique(labels)) == {0, 1, 2}
    for image in place.images:  # as large as the map's pictures
        mask = found[image.name]
        picture = cv2.imdecode(np.frombuffer(place.thumbnails[image.name], np.uint8), cv2.IMREAD_COLOR)
        assert mask.shape == picture.shape[:2]
        middle = len(mask) // 2
        assert (mask[middle, 0], mask[middle, -1], mask[0, 0]) == (1, 2, 0)


def test_an_instance_without_points_is_none(place, masks):
    (masks / CLASSES_NAME).write_text(f"{CLASSES}4711 3\n")
    first = place.images[0]
    nowhere = replace(first, features=replace(first.features, keypoints=first.features.keypoints * 0.0 + 400.0))
    labels, found = labels_of_files(replace(place, images=(nowhere,)), masks)
    assert set(np.unique(labels)) < {0, 1, 2}
    assert 3 not in found[first.name]


def test_the_colours_of_a_mask_are_its_instances():
    mask = np.array([[0, 1, 255], [256, 4096, 300]], np.uint16)
    red, green, blue = np.moveaxis(mask_colours(mask).astype(int), -1, 0)
    assert np.array_equal(red * 65536 + green * 256 + blue, mask)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must begin with the line '0 0'"),
        ("5 1\n0 0\n", "must begin with the line '0 0'"),
        ("0 0\n5\n", "line 2: '5' is not 'COLOUR CLASS'"),
        ("0 0\n5 one\n", "line 2: '5 one' is not 'COLOUR CLASS'"),
        ("0 0\n5 -1\n", "line 2: '5 -1' is not 'COLOUR CLASS'"),
        ("0 0\n5 1\n5 1\n", "lists a colour twice"),
        ("0 0\n5 2\n", "has the class 2, but only 2 lines"),
        ("0 0\n16777216 1\n", "line 2: '16777216 1' is too large"),
        (f"0 0\n5 {'9' * 5000}\n", "is too large"),
    ],
)
def test_a_broken_list_of_classes_is_refused_with_its_line(tmp_path, text, words):
    (tmp_path / CLASSES_NAME).write_text(text)
    with pytest.raises(SourceError) as refused:
        read_classes(tmp_path / CLASSES_NAME)
    assert words in str(refused.value)
    assert CLASSES_NAME in str(refused.value)


def truncate(path):
    path.write_bytes(path.read_bytes()[:60])


def as_jpeg(path):
    path.write_bytes(cv2.imencode(".jpg", np.zeros((30, 64, 3), np.uint8))[1].tobytes())


def as_grey(path):
    cv2.imwrite(str(path), np.ones((30, 64), np.uint8))


def turned(path):
    cv2.imwrite(str(path), np.ones((64, 30, 3), np.uint8))


def as_16_bits(path):
    cv2.imwrite(str(path), np.ones((30, 64, 3), np.uint16))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "the PNG image is truncated"),
        (lambda path: path.write_bytes(b""), "the image is empty"),
        (as_jpeg, "is a JPEG, which changes colours"),
        (as_grey, "has shades of grey"),
        (as_16_bits, "has 16 bits for each colour"),
        (turned, "has 30x64 pixels, its image 640x480: turn the mask"),
    ],
)
def test_a_broken_mask_is_refused_by_its_name(place, masks, damage, words):
    name = place.images[2].name
    damage(masks / f"{name.rpartition('.')[0]}.png")
    with pytest.raises(SourceError) as refused:
        labels_of_files(place, masks)
    assert words in str(refused.value)
    assert name.rpartition(".")[0] in str(refused.value)


def test_images_without_a_mask_are_left_out_unless_none_has_one(place, masks, caplog):
    name = place.images[2].name
    whole = labels_of_files(place, masks)[0]
    (masks / f"{name.rpartition('.')[0]}.png").unlink()
    labels, found = labels_of_files(place, masks)
    assert set(found) == {image.name for image in place.images} - {name}
    assert f"1 of 4 map images have no mask in {masks}, such as {name}" in caplog.text
    assert (labels == whole).mean() > 0.5
    for path in masks.glob("*.png"):
        path.unlink()
    with pytest.raises(SourceError, match="no image of the map 'demo_room' has a mask in"):
        labels_of_files(place, masks)


def test_masks_without_any_listed_colour_and_folders_without_masks_are_refused(place, masks, tmp_path):
    (masks / CLASSES_NAME).write_text("0 0\n77 1\n")
    with pytest.raises(SourceError, match=r"show no point of the map 'demo_room' with a colour of classes\.txt"):
        labels_of_files(place, masks)
    (masks / CLASSES_NAME).unlink()
    with pytest.raises(SourceError, match=r"classes\.txt: it is missing: write a line 'COLOUR CLASS' for each class"):
        labels_of_files(place, masks)
    with pytest.raises(SourceError, match="there is no folder of masks at"):
        labels_of_files(place, tmp_path / "nowhere")
