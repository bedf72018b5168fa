"""The map card shows instances: images in their colours, their sizes, and the training."""

import base64
import re

import numpy as np

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.sources.ros_images import decode_compressed
from visloc_search.instances.card import instance_section
from visloc_search.instances.training_scores import TrainingPoint

FIGURES = {"instances": 2, "coverage_percent": 75.0, "consistent_percent": 91.5, "steps": 100}
CURVE = [TrainingPoint(100, 30.0, 2.0, 0.8), TrainingPoint(200, 60.0, 1.0, 0.8)]


def section(count=5):
    pictures = [np.full((48, 64, 3), 20 * row, np.uint8) for row in range(count)]
    mask = np.zeros((48, 64), np.uint16)
    mask[:, :32], mask[:24, 32:] = 1, 2
    names = [f"<{row}>.jpg" for row in range(count)]
    return instance_section(pictures, [mask] * count, names, FIGURES, CURVE)


def test_three_images_are_shown_in_the_colours_of_their_instances():
    html = section()
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(shown) == 3
    first, middle, last = (decode_compressed("jpeg", base64.b64decode(one)).astype(int) for one in shown)
    for picture, grey in ((first, 0), (middle, 40), (last, 80)):
        for place, instance in (((10, 10), 1), ((10, 50), 2)):
            expected = (grey + landmark_colours(np.array([instance]))[0].astype(int)) / 2
            assert np.abs(picture[place] - expected).max() < 12
        assert np.abs(picture[40, 50] - grey).max() < 12
    assert "&lt;0&gt;.jpg" in html
    assert "<0>" not in html
    assert "http" not in html


def test_sizes_figures_and_the_step_that_was_kept_are_there():
    html = section()
    assert "<title>instance 1: 50.0 % of all images, in 5 of 5</title>" in html
    assert "<title>instance 2: 25.0 % of all images, in 5 of 5</title>" in html
    assert "2 instances: 75 % of the images' area shows one, 91.5 % of the points have the same instance" in html
    assert "The network of step 100 was kept" in html
    assert section(1).count("<img") == 1
