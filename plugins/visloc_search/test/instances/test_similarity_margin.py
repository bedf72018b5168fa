"""How alike images have to be: the images that see most of the same say it, in all styles."""

import numpy as np
import pytest
from synthetic_map import World

from visloc_ros.core.map import NO_POINT
from visloc_search.instances.labelled_map import LabelledMap
from visloc_search.instances.recognition import Recognition
from visloc_search.instances.samples import MaskedImage
from visloc_search.instances.similarity_margin import least_similarity, most_covisible


@pytest.fixture(scope="module")
def place():
    return World(points=300, images=12).map


def test_the_image_that_sees_most_of_the_same_is_found_by_counting(place):
    rows = np.arange(len(place.images))
    seen = [set(image.point_rows[image.point_rows != NO_POINT].tolist()) for image in place.images]
    for one, other in zip(rows, most_covisible(place, rows, rows), strict=True):
        shared = [len(seen[one] & seen[row]) if row != one else 0 for row in rows]
        assert shared[other] == max(shared) > 0


class BrightnessRecogniser:
    """Describes an image by its brightness alone."""

    def recognise(self, image):
        angle = image.mean() / 255.0
        return Recognition.of(np.ones((2, 1, 1), np.float32), np.array([np.cos(angle), np.sin(angle)], np.float32))


def test_the_margin_lets_nearly_all_styles_of_held_out_images_pass(place):
    recogniser = BrightnessRecogniser()
    pictures = [np.full((24, 32, 3), 100 + row, np.uint8) for row in range(len(place.images))]
    masked = [MaskedImage(str(row), picture, np.zeros((24, 32), np.uint16)) for row, picture in enumerate(pictures)]
    rows = tuple(range(len(pictures)))
    labelled = LabelledMap(place, np.zeros(len(place.points), np.int32), rows, tuple(masked))
    found = [recogniser.recognise(picture) for picture in pictures]
    least = least_similarity(labelled, found, recogniser)
    assert 0.5 < least < float(found[0].descriptor @ found[-1].descriptor)  # darker and brighter copies differ more
    assert labelled.held_out == [4]
    assert 4 not in labelled.learned
    few = LabelledMap(place, labelled.point_labels, rows[:3], tuple(masked[:3]))
    assert few.held_out == few.learned == [0, 1, 2]
