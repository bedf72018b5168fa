"""Images found by fused descriptors in exactly known maps, and refused where these do not hold."""

from dataclasses import replace

import numpy as np
import pytest
from fused_maps import BY_FUSED, distance, engine_of, prepared
from synthetic_map import DIM, MATCHER, FakeExtractor, World, near_image, unit
from twin_places import AWAY, Twins, moved, named

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.features.types import Matches
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.localization.search_hint import PositionHint, SearchHint
from visloc_search.fused.config import FusedConfig
from visloc_search.fused.fused_map import DescribedMap, fuse_map
from visloc_search.fused.fusion import Codebook
from visloc_search.fused.searcher import FusedSearcher


@pytest.fixture(scope="module")
def engine(fused_world_map):
    return engine_of(fused_world_map)


@pytest.fixture(scope="module")
def twins():
    return Twins()


@pytest.fixture(scope="module")
def by_twins(twins, tmp_path_factory):
    return engine_of(prepared(twins.map, tmp_path_factory.mktemp("twins")))


@pytest.fixture(scope="module")
def same():
    """Two places that differ in nothing."""
    return Twins(changed=0.0)


@pytest.fixture(scope="module")
def by_same(same, tmp_path_factory):
    return engine_of(prepared(same.map, tmp_path_factory.mktemp("same")))


@pytest.fixture(scope="module")
def fused_same(same):
    describer, descriptors = global_index(same.map)
    return fuse_map(DescribedMap.of(same.map, describer, descriptors), FusedConfig()), describer


@pytest.mark.parametrize("row", range(4))
def test_a_pose_that_no_image_has_is_found(engine, fused_world, row):
    pose = near_image(fused_world, row)
    anchor = engine.localize(fused_world.frame(), features=fused_world.view(pose, outliers=0.3))
    assert isinstance(anchor, AnchorPose)
    assert distance(anchor, pose) < 0.03
    assert np.all(np.linalg.eigvalsh(anchor.covariance) > 0.0)
    assert {"global", "matching", "guided"} <= set(anchor.stage_ms)


def test_a_predicted_pose_needs_no_search(engine, fused_world):
    pose = near_image(fused_world)
    anchor = engine.localize(fused_world.frame(), moved(pose, np.full(3, 0.02)), fused_world.view(pose))
    assert distance(anchor, pose) < 0.03
    assert "matching" not in anchor.stage_ms


def test_what_shows_nothing_of_the_map_is_refused(engine, fused_world):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 700, (300, 2)).astype(np.float32)
    strange = LocalFeatures(keypoints, np.ones(300, np.float32), unit(rng.normal(size=(300, DIM))), (1024, 768))
    answer = engine.localize(fused_world.frame(), features=strange)
    assert answer.reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)


@pytest.mark.parametrize("options", [{"storage": "int8"}, {"rho": 0.0}, {"reduce": "orthogonal"}])
def test_other_options_find_it_as_well(fused_world, tmp_path, options):
    engine, pose = engine_of(prepared(fused_world.map, tmp_path / "map", **options)), near_image(fused_world)
    anchor = engine.localize(fused_world.frame(), features=fused_world.view(pose, outliers=0.3))
    assert distance(anchor, pose) < 0.03


def test_half_precision_moves_the_pose_by_less_than_a_millimetre(fused_world):
    map_, config = fused_world.map, FusedConfig()
    describer, descriptors = global_index(map_)
    described = DescribedMap.of(map_, describer, descriptors)
    rounded = fuse_map(described, config)
    sums = described.sums(described.image_parts(config).reduced)
    values = sums.means(config.local_weight, np.flatnonzero(sums.counts)).astype(np.float32)
    exact = replace(rounded, codebook=Codebook(values))
    view = fused_world.view(near_image(fused_world), outliers=0.3)
    query = Query(fused_world.frame(), view, Stopwatch())
    found = [
        next(FusedSearcher(one, describer, AnchorConfig(), MATCHER).gather(query, None)) for one in (exact, rounded)
    ]
    one, other = (evidence.solution.map_from_camera.translation for evidence in found)
    assert np.linalg.norm(one - other) < 1e-3


class TestLearnedMatcher:
    """Matching frames around a pose in doubt; without guided search every pose is."""

    ALWAYS = AnchorConfig.from_mapping({"search": "fused", "guided": {"enabled": False}})

    def test_it_ends_with_the_first_frame_for_which_the_pose_is_accepted(self, fused_world, fused_world_map):
        matcher = CountingMatcher(share=0.3)
        anchor = AnchorEngine(fused_world_map, self.ALWAYS, FakeExtractor(None), matcher).localize(
            fused_world.frame(), features=fused_world.view(near_image(fused_world), outliers=0.3)
        )
        assert isinstance(anchor, AnchorPose)
        assert matcher.frames == 1

    def test_it_replaces_no_pose_that_more_speaks_for(self, fused_world, fused_world_map):
        matcher, pose = CountingMatcher(share=0.1), near_image(fused_world)
        engine = AnchorEngine(fused_world_map, self.ALWAYS, FakeExtractor(None), matcher)
        anchor = engine.localize(fused_world.frame(), features=fused_world.view(pose, outliers=0.3))
        assert isinstance(anchor, AnchorPose)
        assert matcher.frames > 1
        assert distance(anchor, pose) < 0.03
        assert anchor.num_inliers > 100


class CountingMatcher:
    """A learned matcher, as far as the search knows, that finds a share of the neighbours."""

    info, batch_size = MATCHER.info, 1

    def __init__(self, share):
        self._share, self.frames = share, 0

    def match(self, a, b):
        found = MATCHER.match(a, b)
        count = int(self._share * len(found))
        return Matches(found.pairs[:count], found.scores[:count])

    def match_many(self, query, references):
        self.frames += len(references)
        return [self.match(query, reference) for reference in references]


class TestPlacesAlike:
    def test_no_twin_is_taken_for_the_other(self, by_twins, twins):
        for row in range(0, len(twins.map.images), 3):
            pose = near_image(twins, row)
            answer = by_twins.localize(twins.frame(), features=twins.view(pose))
            if isinstance(answer, AnchorPose):
                assert distance(answer, pose) < 0.1
            else:
                assert answer.reason is Reason.AMBIGUOUS_PLACE

    def test_places_that_are_the_same_are_ambiguous(self, by_same, same):
        for row in range(0, len(same.map.images), 3):
            answer = by_same.localize(same.frame(), features=same.view(near_image(same, row)))
            assert answer.reason is Reason.AMBIGUOUS_PLACE

    @pytest.mark.parametrize("sigma_m", [1.0, 10.0])
    def test_with_a_hint_both_of_them_are_found(self, by_same, same, sigma_m):
        for row in range(0, len(same.map.images), 3):
            pose = near_image(same, row)
            hint = SearchHint(PositionHint(pose.translation + sigma_m / 4, sigma_m))
            answer = by_same.localize(same.frame(), features=same.view(pose), hint=hint)
            assert distance(answer, pose) < 0.1

    def test_all_points_that_are_matched_are_within_reach_of_the_hint(self, fused_same, same):
        pose = near_image(same, len(same.map.images) - 1)  # in the second place
        searcher = FusedSearcher(*fused_same, AnchorConfig(), MATCHER)
        hint = SearchHint(PositionHint(pose.translation, 1.0))
        query = Query(same.frame(), same.view(pose), Stopwatch(), hint=hint)
        found = searcher.match(query, searcher.fuse(query))
        assert np.all(searcher.map.points[found.point_rows][:, 0] > AWAY[0] / 2)

    def test_a_hint_of_elsewhere_finds_nothing(self, by_twins, twins):
        hint = SearchHint(PositionHint(-4.0 * AWAY, 1.0))
        answer = by_twins.localize(twins.frame(), features=twins.view(near_image(twins)), hint=hint)
        assert isinstance(answer, Rejection)


class TestSeveralMaps:
    def test_the_map_and_the_pose_are_reported(self, tmp_path):
        worlds = {name: World(seed) for seed, name in enumerate(("office", "hall"))}
        maps = [prepared(named(one.map, name), tmp_path / name) for name, one in worlds.items()]
        engine = MultiMapEngine(maps, BY_FUSED, FakeExtractor(None), MATCHER)
        for name, world in worlds.items():
            pose = near_image(world)
            anchor = engine.localize(world.frame(), world.view(pose, outliers=0.2))
            assert anchor.map.name == name
            assert distance(anchor.result, pose) < 0.05


class TestRefusedMaps:
    def test_a_map_that_was_not_prepared_names_the_command(self, fused_world):
        with pytest.raises(MapError, match="visloc prepare MAP --for fused"):
            engine_of(fused_world.map)

    def test_another_descriptor_of_images(self, fused_world_map):
        config = AnchorConfig.from_mapping({"search": "fused", "global_descriptor": {"name": "netvlad"}})
        with pytest.raises(MapError, match="visloc prepare MAP --for fused"):
            engine_of(fused_world_map, config)
