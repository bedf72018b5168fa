"""Images that were taken turned against the others join them, in builds and extensions."""

from dataclasses import replace

import numpy as np
from kitchen_map import CONFIG

from visloc_ros.core.camera import turn_upright
from visloc_ros.core.geometry import umeyama
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.mapping import build_map, extend_map
from visloc_ros.sources import SourceConfig, open_source


class TurnedSource:
    """A source of which some images are turned counter-clockwise by quarter turns, and their camera with them."""

    def __init__(self, source, turns):
        self._source, self._turns = source, turns
        self.name, self.ground_truth, self.calibrated = "turned", None, source.calibrated
        [first] = [frame for index, frame in enumerate(self) if index == 0]
        self.camera, self.calibration = first.camera, replace(source.calibration, camera=first.camera)

    def __len__(self):
        return len(self._source)

    def __iter__(self):
        for index, frame in enumerate(self._source):
            quarters = self._turns.get(index, 0)
            height, width = frame.image.shape[:2]
            camera = turn_upright(frame.camera, width, height, -quarters % 4)
            image = np.ascontiguousarray(np.rot90(frame.image, quarters))
            yield replace(frame, image=image, camera=camera, calibration=None, name=f"{index}.jpg")


def centres_of(map_, source):
    """Places of a map's images beside the true ones (N, 3), aligned."""
    true = {f"{index}.jpg": source.ground_truth.nearest(frame.stamp_ns, 0) for index, frame in enumerate(source)}
    places = np.array([true[image.name].translation for image in map_.images])
    found = map_.camera_positions
    return umeyama(places, found) @ found, places


def test_images_of_a_build_that_are_upside_down_join_the_others(longer, tmp_path):
    source = TurnedSource(longer, dict.fromkeys(range(4, 8), 2))
    build_map(source, tmp_path / "map", CONFIG)
    map_ = open_map(tmp_path / "map")
    quarters = {image.name: image.features.quarters for image in map_.images}
    assert sorted(quarters.values()) == [0] * 4 + [2] * 4
    assert len({quarters[f"{index}.jpg"] for index in range(4)}) == 1
    found, true = centres_of(map_, longer)
    assert np.linalg.norm(found - true, axis=1).max() < 0.05


def test_turned_images_are_added_to_a_map_and_locate_upright_ones(known, shared_data, tmp_path):
    later = open_source(shared_data / "7scenes_redkitchen", SourceConfig(first=65, every=10, last=85))
    extend_map(known[0], TurnedSource(later, dict.fromkeys(range(3), 1)), tmp_path / "map")
    map_ = open_map(tmp_path / "map")
    new = [image for image in map_.images if image.features.quarters]
    assert [image.features.quarters for image in new] == [3, 3, 3]
    true = {f"{index}.jpg": later.ground_truth.nearest(frame.stamp_ns, 0) for index, frame in enumerate(later)}
    for image in new:
        assert np.linalg.norm(image.map_from_camera.translation - true[image.name].translation) < 0.05
    *_, upright = later
    anchor = AnchorEngine(map_, AnchorConfig()).localize(upright)
    assert isinstance(anchor, AnchorPose)
    assert np.linalg.norm(anchor.map_from_camera.translation - true["2.jpg"].translation) < 0.05
