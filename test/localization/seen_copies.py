"""A camera whose images show a place of an exactly known map, but only once they are turned or made smaller."""

from dataclasses import replace
from itertools import product

import numpy as np
from synthetic_map import DIM, INFO, MATCHER, unit

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.types import Frame
from visloc_ros.features.types import OneByOne
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.image_copies import ImageCopy, scaled_features, turned_image

LONGEST = AnchorConfig().features.resize_max
ALL_COPIES = [ImageCopy(quarters, is_half) for is_half, quarters in product((False, True), range(4))]


class CopyExtractor(OneByOne):
    """Finds the features of a view in some copies of its image; in the others they have other descriptors, or lack."""

    info = INFO
    descriptor_dim = DIM

    def __init__(self, view, copies, lacks_others=False):
        self.view, self.copies, self.lacks_others = view, copies, lacks_others
        self.looked = []

    def extract(self, image):
        given = marked(self.view, self.copies[0].quarters)
        copy = next(one for one in ALL_COPIES if np.array_equal(one.of(given, LONGEST), image))
        self.looked.append(copy)
        features = replace(scaled_features(self.view.turned(copy.quarters), image.shape[::-1]), quarters=0)
        if copy in self.copies:
            return features
        if self.lacks_others:
            return features.take(np.arange(3))
        others = unit(np.random.default_rng(100 + copy.quarters).normal(size=features.descriptors.shape))
        return replace(features, descriptors=others)


def marked(view, quarters):
    """An image of a view that is upright once it is turned by quarters: its first pixels are then marked."""
    width, height = view.image_size
    upright = np.zeros((height, width) if quarters % 2 == 0 else (width, height), np.uint8)
    upright[:2, :2] = 255
    return turned_image(upright, -quarters)


class Camera:
    """A camera that takes a view, which some copies of its image show, and an engine that searches it."""

    def __init__(self, world, pose, *copies, most_turns=3, lacks_others=False):
        self.view = world.view(pose)
        self.extractor = CopyExtractor(self.view, copies, lacks_others)
        self.engine = AnchorEngine(world.map, AnchorConfig(), self.extractor, MATCHER, most_turns=most_turns)
        self.calibration = CameraCalibration(world.camera, CalibrationSource.GIVEN)
        self.frame = Frame(123, marked(self.view, copies[0].quarters), world.camera, calibration=self.calibration)

    def strict_engine(self, max_risk):
        """Another engine of the same features, which allows less risk."""
        return AnchorEngine(self.engine.map, AnchorConfig(max_risk=max_risk), self.extractor, MATCHER)
