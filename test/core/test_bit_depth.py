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


def of_bits(bits, image=0):
    """An image that is known exactly: what its upper eight bits are."""
    pixels = (np.arange(256) + image) % 256
    return (pixels << (bits - 8)).astype(np.uint16), pixels.tolist()


@pytest.mark.parametrize("order", [(16, 10), (10, 16), (16, 12, 8), (8, 12, 16, 10, 16), (14, 10), (12, 8)])
def test_a_camera_that_is_set_to_another_depth_is_followed(order):
    depth = BitDepth()
    for bits in order:
        for image in range(5):
            values, expected = of_bits(bits, image)
            assert depth.to_8_bit(values).tolist() == expected


def test_a_camera_that_is_set_to_two_bits_less_keeps_its_brightness_and_enough_shades():
    depth = BitDepth()
    for bits, shades in ((12, 256), (10, 64), (12, 256)):
        assert len(np.unique(depth.to_8_bit(of_bits(bits)[0]))) == shades


def test_a_dark_image_among_those_of_fewer_bits_stays_dark():
    depth = BitDepth()
    images = [np.full((2, 2), largest, np.uint16) for largest in (60_000, 1000, 200, 1000)]
    assert [int(depth.to_8_bit(image)[0, 0]) for image in images] == [234, 250, 50, 250]


def test_a_black_image_changes_nothing_after_it():
    depth = BitDepth()
    images = [np.full((2, 2), largest, np.uint16) for largest in (60_000, 0, 15_000)]
    assert [int(depth.to_8_bit(image)[0, 0]) for image in images] == [234, 0, 58]
