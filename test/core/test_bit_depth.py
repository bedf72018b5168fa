import numpy as np
import pytest

from visloc_ros.core.bit_depth import BitDepth


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_upper_eight_of_the_bits_in_use_are_kept(bits):
    values = np.array([[0, (1 << bits) - 1, 1 << (bits - 1)]], dtype=np.uint16)
    assert BitDepth().to_8_bit(values).tolist() == [[0, 255, 128]]


def test_a_dark_image_among_brighter_ones_stays_dark():
    depth = BitDepth()
    bright, dark = np.full((2, 2), 4000, np.uint16), np.full((2, 2), 800, np.uint16)
    brightness = [int(depth.to_8_bit(image)[0, 0]) for image in (bright, dark, bright, dark)]
    assert brightness == [250, 50, 250, 50]
