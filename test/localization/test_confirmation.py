"""Evidence from matches beside what a search around its pose finds: one may confirm or contradict the other."""

from dataclasses import replace

import pytest
from synthetic_map import MATCHER, FakeExtractor

from visloc_ros.core.types import AnchorPose, Reason
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.acceptance import InlierSupport

SURE = InlierSupport(300, 512, 300, 310, 0.2, 0.2)
HARDLY_SURE = InlierSupport(49, 300, 55, 78, 0.1, 0.1)
CONTRADICTED = InlierSupport(36, 300, 36, 551, 0.034, 0.1, is_searched=True)
CONFIRMED = InlierSupport(56, 512, 56, 255, 0.07, 0.2, is_searched=True)


@pytest.fixture
def answer(world, near, monkeypatch):
    """The engine's answer to evidence of these supports, and how often it gathered evidence."""
    engine, features = AnchorEngine(world.map, AnchorConfig(), FakeExtractor(None), MATCHER), world.view(near)

    def get(matched, searched, is_reduced=True):
        engine._is_reduced = is_reduced
        gather, around, gathered = engine._searcher.gather, engine._guided.gather, []

        def gather_supported(query, prior):
            for _ in range(2):
                (evidence,) = list(gather(query, prior))[:1]
                gathered.append(evidence)
                yield replace(evidence, support=matched)

        monkeypatch.setattr(engine._searcher, "gather", gather_supported)
        monkeypatch.setattr(engine._guided, "gather", lambda *given: replace(around(*given), support=searched))
        return engine.localize(world.frame(), features=features), len(gathered)

    return get


def test_the_supports_are_what_they_are_called():
    assert HARDLY_SURE.refusal(0.025) is None
    assert HARDLY_SURE.refusal(0.025**2) is not None
    assert SURE.refusal(0.025**2) is None
    assert CONTRADICTED.probability < 0.5 < CONFIRMED.probability < 0.975


def test_confirmed_evidence_ends_the_search(answer):
    result, gathered = answer(HARDLY_SURE, CONFIRMED)
    assert isinstance(result, AnchorPose)
    assert gathered == 1


def test_contradicted_evidence_is_refused(answer):
    result, gathered = answer(HARDLY_SURE, CONTRADICTED)
    assert result.reason is Reason.FEW_INLIERS
    assert gathered == 2


def test_evidence_as_sure_as_both_together_needs_no_confirmation(answer):
    result, _ = answer(SURE, CONTRADICTED)
    assert isinstance(result, AnchorPose)


def test_a_whole_map_needs_no_confirmation(answer):
    result, _ = answer(HARDLY_SURE, CONTRADICTED, is_reduced=False)
    assert isinstance(result, AnchorPose)
