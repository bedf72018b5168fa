"""Matching several references at once, against the same pairs one by one at full depth and width."""

import numpy as np
import pytest
import torch
from made_features import textured

from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher
from visloc_ros.features.backends import lightglue
from visloc_ros.features.backends.lightglue_batch import fill_up, present_points

FULL = {"precision": "float32", "depth_confidence": 1.0, "width_confidence": 1.0}


def first(features, count):
    """The strongest ``count`` features as an image of their own."""
    return features.take(np.arange(count))


@pytest.fixture(scope="module")
def query():
    features = make_extractor(FeatureConfig(max_keypoints=200)).extract(textured(1))
    assert len(features) > 130  # more than one step of the fixed point counts
    return features


@pytest.fixture(scope="module")
def references(query):
    shifted = make_extractor(FeatureConfig(max_keypoints=200)).extract(np.roll(textured(1), (5, -9), axis=(0, 1)))
    return [shifted, first(shifted, 60), first(query, 0), first(shifted, 1), first(query, 128), first(query, 2)]


@pytest.fixture(scope="module")
def at_once():
    return make_matcher(MatcherConfig(batching="always", **FULL))


@pytest.fixture(scope="module")
def one_by_one():
    return make_matcher(MatcherConfig(batching="never", **FULL))


@pytest.mark.parametrize(("count", "least"), [(200, 80), (1, 0), (0, 0)])
def test_matching_at_once_gives_what_single_pairs_give(at_once, one_by_one, query, references, count, least):
    few = first(query, count)
    together, singly = at_once.match_many(few, references), one_by_one.match_many(few, references)
    assert len(together) == len(references)
    assert len(singly[0]) >= least
    assert len(singly[2]) == 0
    for batched, single in zip(together, singly, strict=True):
        np.testing.assert_array_equal(batched.pairs, single.pairs)
        np.testing.assert_allclose(batched.scores, single.scores, atol=1e-4)
        assert batched.pairs.dtype == np.int32
        assert batched.scores.dtype == np.float32


def test_half_precision_as_on_a_gpu_finds_nearly_the_same(monkeypatch, one_by_one, query, references):
    monkeypatch.setattr(lightglue, "pick_dtype", lambda name, device: torch.float16)
    matcher = make_matcher(MatcherConfig(batching="always"))
    assert matcher.dtype == torch.float16
    half, full = (each.match_many(query, references[:1])[0].pairs for each in (matcher, one_by_one))
    both = {tuple(pair) for pair in half.tolist()} & {tuple(pair) for pair in full.tolist()}
    assert len(both) > 0.97 * max(len(half), len(full))


def test_no_references_give_no_matches(at_once, one_by_one, query):
    assert at_once.match_many(query, []) == []
    assert one_by_one.match_many(query, []) == []


def test_on_a_processor_pairs_are_matched_adaptively_one_by_one(query, references):
    matcher = make_matcher(MatcherConfig(device="cpu", precision="float32"))
    for found, reference in zip(matcher.match_many(query, references), references, strict=True):
        alone = matcher.match(query, reference)
        np.testing.assert_array_equal(found.pairs, alone.pairs)
        np.testing.assert_array_equal(found.scores, alone.scores)


def on_device(arrays, matcher):
    return [torch.from_numpy(array).to(matcher.device) for array in arrays]


def test_images_prepared_at_once_are_those_prepared_one_by_one(one_by_one, references):
    """Padding has no influence on what is no padding."""
    images = [references[index] for index in (0, 1, 3, 4)]
    inputs = [one_by_one._inputs(image) for image in images]
    counts = [len(image) for image in images]
    positions, descriptors, sizes = zip(*inputs, strict=True)
    arrays = (fill_up(positions), fill_up(descriptors), np.stack(sizes), present_points(counts))
    with torch.inference_mode():
        together = one_by_one.network.prepare_batch(*on_device(arrays, one_by_one))
        singly = [one_by_one.network.prepare(*on_device(arrays, one_by_one)) for arrays in inputs]
    for row, (single, count) in enumerate(zip(singly, counts, strict=True)):
        for found, expected in zip(together, single, strict=True):
            torch.testing.assert_close(found[row, :count], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_graphs_find_what_the_processor_finds_in_numbers_that_alternate(one_by_one, query, references):
    """Three references and six are graphs of their own; the third time each is replayed."""
    matcher = make_matcher(MatcherConfig(device="cuda", precision="float32"))
    full = [reference for reference in references if len(reference)]
    for count in (3, 5, 3, 5, 3, 5, 1):
        found = matcher.match_many(query, full[:count])
        for batched, single in zip(found, one_by_one.match_many(query, full[:count]), strict=True):
            common = {tuple(pair) for pair in batched.pairs} & {tuple(pair) for pair in single.pairs}
            assert len(common) >= 0.98 * max(len(batched.pairs), len(single.pairs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_half_precision_on_a_gpu_finds_nearly_the_same_in_images_of_unequal_size(one_by_one, query, references):
    matcher = make_matcher(MatcherConfig(device="cuda"))
    assert matcher.dtype == torch.float16
    full = [reference for reference in references if len(reference) >= 60]
    for _ in range(3):  # run, captured, replayed
        for batched, single in zip(matcher.match_many(query, full), one_by_one.match_many(query, full), strict=True):
            common = {tuple(pair) for pair in batched.pairs} & {tuple(pair) for pair in single.pairs}
            assert len(common) >= 0.95 * max(len(batched.pairs), len(single.pairs))
