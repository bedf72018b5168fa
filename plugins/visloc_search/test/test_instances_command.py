"""``visloc instances``: masks, confidences and pictures of images, and masks that are read again."""

import json
import logging

import cv2
import numpy as np
import pytest
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_ros.core.map import NO_POINT, open_map
from visloc_ros.core.map_layout import thumbnail_name
from visloc_search.instances.mask_files import labels_of_files
from visloc_search.instances.opening import open_instances
from visloc_search.instances.recognition import at_pixels


@pytest.fixture(scope="module")
def pictures(instance_room, tmp_path_factory):
    """The small pictures of the map's images, by their names."""
    folder = tmp_path_factory.mktemp("pictures")
    place = open_map(instance_room)
    for image in place.images:
        (folder / image.name).with_suffix(".jpg").write_bytes(place.thumbnails[image.name])
    return folder


def read(path):
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_files_of_an_image_say_what_is_recognised(instance_room, pictures, tmp_path):
    path = sorted(pictures.iterdir())[1]
    image = read(path)
    finished = succeed("instances", instance_room, path, "--output", tmp_path / "out", "--json")
    names = [f"{path.stem}{end}" for end in (".npz", "_confidence.png", "_mask.png", "_overlay.png")]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted([*names, "classes.txt"])
    known, recogniser = open_instances(open_map(instance_room))
    expected = recogniser.recognise(image)
    arrays = np.load(tmp_path / "out" / names[0], allow_pickle=False)
    assert arrays["ids"].shape == arrays["probabilities"].shape == (min(10, known.num_classes), *expected.mask.shape)
    assert np.array_equal(arrays["ids"][0], expected.mask)
    assert np.allclose(arrays["confidence"], arrays["probabilities"][0])
    assert 0.0 <= arrays["confidence"].min() <= arrays["confidence"].max() <= 1.0
    assert np.linalg.norm(arrays["descriptor"]) == pytest.approx(1.0, abs=1e-4)
    mask = read(tmp_path / "out" / names[2]).astype(int)
    assert mask.shape == image.shape
    rows, columns = (
        ((np.arange(cells) + 0.5) * pixels / cells).astype(int)
        for pixels, cells in zip(mask.shape, expected.mask.shape, strict=False)
    )
    assert np.array_equal(mask[rows][:, columns] @ [65536, 256, 1], expected.mask)
    shown = json.loads(finished.stdout)[path.stem]
    shares = np.bincount(expected.mask.ravel()) / expected.mask.size
    assert {one["instance"]: pytest.approx(one["share"]) for one in shown} == {
        one: share for one, share in enumerate(shares) if one and share
    }


def test_written_masks_can_be_read_as_those_of_the_map(instance_room, pictures, tmp_path):
    succeed("instances", instance_room, pictures, "--output", tmp_path)
    place = open_map(instance_room)
    labels, masks = labels_of_files(place, tmp_path)
    _, recogniser = open_instances(place)
    votes = np.zeros((len(place.points), 100), int)
    for image in place.images:
        expected = recogniser.recognise(read(pictures / f"{thumbnail_name(image.name)}")).mask
        rows = np.flatnonzero(image.point_rows != NO_POINT)
        shown = at_pixels(expected, image.features.keypoints[rows], image.features.image_size)
        np.add.at(votes, (image.point_rows[rows], shown), 1)
        assert set(np.unique(masks[image.name])) <= {0, *np.unique(expected)}
    # Where the cells of the network end, a pixel of the written masks may be of the next one.
    assert (votes[np.arange(len(labels)), labels] == votes.max(axis=1)).mean() > 0.98
    assert labels.any()


def test_images_that_cannot_be_read_are_left_out_and_named(instance_room, pictures, tmp_path, caplog):
    good = sorted(pictures.iterdir())[0]
    (tmp_path / "broken.jpg").write_bytes(good.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        succeed("instances", instance_room, tmp_path / "broken.jpg", good, "--output", tmp_path / "out")
    assert "broken.jpg" in caplog.text
    assert (tmp_path / "out" / f"{good.stem}_mask.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((DEMO_MAP, "PICTURE"), "visloc prepare MAP --for instances"),
        (("MAP", "OUT/none.jpg"), "there is no image, and no folder of images, at"),
        (("MAP", "OUT/broken.jpg"), "cannot read"),
        (("MAP", "OUT/empty"), "is empty"),
        (("MAP", "PICTURE", "PICTURE"), "two of the images are called"),
        (("MAP", "OUT"), "holds the images: choose another folder"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(instance_room, pictures, tmp_path, words, message):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").mkdir()
    places = {"MAP": instance_room, "PICTURE": sorted(pictures.iterdir())[0]}
    given = [places.get(word, str(word).replace("OUT", str(tmp_path))) for word in words]
    finished = visloc("instances", *given, "--output", tmp_path)
    assert finished.exit_code == 1
    assert message in str(finished.exception)
