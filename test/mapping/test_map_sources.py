"""Several sources: labels of their own, reference poses that are theirs, cameras that are kept apart."""

from dataclasses import dataclass, field

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import rescale
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.mapping.collection import MapFrame, with_unique_names
from visloc_ros.mapping.map_sources import CameraGroups, MapCamera, TimeSpan, check_shared_references, label_sources
from visloc_ros.sources.named_poses import NamedPoses

CAMERA = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50.0, 50.0, 32.0, 24.0])
POSES = Trajectory(np.array([0, 10]), (SE3.identity(), SE3.identity()))


@dataclass
class Source:
    """Frames at these stamps."""

    name: str
    stamps_ns: list[int] = field(default_factory=list)
    camera = CAMERA
    calibrated, skipped, ground_truth = True, 0, None

    def __len__(self):
        return len(self.stamps_ns)

    def __iter__(self):
        return (Frame(stamp_ns, np.zeros((48, 64), np.uint8), CAMERA) for stamp_ns in self.stamps_ns)


def span(*stamps_ns):
    found = TimeSpan()
    assert [frame.stamp_ns for frame in found.watch(Source("a", list(stamps_ns)))] == list(stamps_ns)
    return found


class TestLabels:
    def test_one_source_need_not_be_in_a_list(self):
        (only,) = label_sources(Source("hall"), POSES)
        assert (only.label, only.references) == ("hall", POSES)

    def test_sources_of_one_name_get_different_labels(self):
        labelled = label_sources([Source("rgb"), Source("rgb"), Source("hall"), Source("rgb")], taken=["hall"])
        assert [source.label for source in labelled] == ["rgb", "rgb-2", "hall-2", "rgb-3"]

    def test_each_has_its_own_reference_poses_or_all_have_one(self):
        sources = [Source("a"), Source("b")]
        assert [source.references for source in label_sources(sources, [None, POSES])] == [None, POSES]
        assert [source.references for source in label_sources(sources, POSES)] == [POSES, POSES]
        assert [source.references for source in label_sources(sources)] == [None, None]

    def test_too_few_reference_poses_are_refused(self):
        with pytest.raises(ConfigError, match=r"2 files of reference poses .* 3 sources"):
            label_sources([Source("a"), Source("b"), Source("c")], [POSES, POSES])

    def test_no_source_is_refused(self):
        with pytest.raises(ConfigError, match="no source"):
            label_sources([])


class TestSharedReferences:
    @pytest.mark.parametrize(("other", "overlaps"), [((6, 9), False), ((5, 9), True), ((2, 3), True), ((), False)])
    def test_spans_overlap_where_they_have_an_instant_in_common(self, other, overlaps):
        assert span(1, 5).overlaps(span(*other)) == overlaps
        assert span(*other).overlaps(span(1, 5)) == overlaps

    def test_one_trajectory_serves_two_sources_of_different_times_only(self):
        sources = label_sources([Source("a"), Source("b")], POSES)
        check_shared_references(sources, [span(0, 4), span(5, 9)])
        with pytest.raises(ConfigError, match="'a' and 'b' overlap"):
            check_shared_references(sources, [span(0, 5), span(5, 9)])

    def test_poses_by_name_serve_any_number_of_sources(self):
        sources = label_sources([Source("a"), Source("b")], NamedPoses({"x.jpg": SE3.identity()}))
        check_shared_references(sources, [span(0, 5), span(0, 5)])


class TestCameras:
    def test_like_cameras_are_one(self):
        groups = CameraGroups(calibrated=False)
        first = groups.find(CAMERA)
        assert groups.find(pycolmap.Camera(CAMERA.todict())) is first
        assert (first.intrinsics, first.calibrated) == (CAMERA, False)

    def test_cameras_of_another_size_model_or_focal_length_are_others(self):
        groups = CameraGroups(calibrated=True)
        longer = pycolmap.Camera(CAMERA.todict())
        longer.focal_length_x = 51.0
        radial = pycolmap.Camera(model="SIMPLE_RADIAL", width=64, height=48, params=[50.0, 32.0, 24.0, 0.0])
        found = [groups.find(camera) for camera in (CAMERA, longer, radial, rescale(CAMERA, 32, 24))]
        assert len({id(camera) for camera in found}) == 4


class TestNames:
    FEATURES = LocalFeatures(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 8)), (64, 48))

    def frames(self, *names):
        camera = MapCamera(CAMERA, calibrated=True)
        return [MapFrame("a", 0, name, camera, self.FEATURES, b"", None) for name in names]

    def test_names_that_are_free_stay(self):
        found = with_unique_names(self.frames("1.jpg", "2.jpg"), "hall", {"3.jpg"})
        assert [frame.name for frame in found] == ["1.jpg", "2.jpg"]

    def test_where_one_is_taken_all_of_the_source_get_its_label(self):
        found = with_unique_names(self.frames("1.jpg", "2.jpg"), "hall", {"2.jpg"})
        assert [frame.name for frame in found] == ["hall/1.jpg", "hall/2.jpg"]

    def test_the_label_is_numbered_where_it_makes_a_name_that_is_taken(self):
        found = with_unique_names(self.frames("1.jpg", "2.jpg"), "hall", {"1.jpg", "hall/1.jpg", "hall-2/2.jpg"})
        assert [frame.name for frame in found] == ["hall-3/1.jpg", "hall-3/2.jpg"]

    def test_images_of_one_name_in_a_source_are_numbered(self):
        found = with_unique_names(self.frames("x.jpg", "x.jpg"), "hall", {})
        assert [frame.name for frame in found] == ["000000_x.jpg", "000001_x.jpg"]
