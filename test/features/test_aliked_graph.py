"""ALIKED in fixed shapes, which a CUDA graph can hold, against the network that ends with the keypoints it finds."""

import cv2
import numpy as np
import pytest
import torch

from visloc_ros.features import FeatureConfig, make_extractor

COUNT, THRESHOLD, RADIUS = 300, 0.2, 2


@pytest.fixture(scope="module")
def photos(shared_data):
    """Two views of a kitchen, and one of nothing, 320x240."""
    files = sorted((shared_data / "7scenes_redkitchen" / "rgb").glob("*.jpg"))[:400:200]
    seen = [cv2.resize(cv2.imread(str(file)), (320, 240), interpolation=cv2.INTER_AREA) for file in files]
    return [*seen, np.full_like(seen[0], 128)]


def test_the_strongest_above_the_threshold_are_the_keypoints(photos):
    network = make_extractor(FeatureConfig(device="cpu", precision="float32")).network
    planes = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        expected = network(planes, COUNT, THRESHOLD, RADIUS)
        strongest = network.describe_strongest(planes, COUNT, RADIUS)
    assert [len(scores) for _, scores, _ in expected][1:] != [COUNT, COUNT]  # an image with fewer is among them
    for image, (pixels, scores, descriptors) in enumerate(expected):
        found = [output[image][strongest[1][image] > THRESHOLD] for output in strongest]
        torch.testing.assert_close(found[1], scores, rtol=0.0, atol=1e-5)
        torch.testing.assert_close(found[0], pixels, rtol=0.0, atol=1e-3)
        torch.testing.assert_close(found[2], descriptors, rtol=0.0, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_graphs_find_what_the_processor_finds_in_shapes_that_alternate(photos):
    on_processor, on_gpu = (
        make_extractor(FeatureConfig(max_keypoints=COUNT, precision="float32", device=device))
        for device in ("cpu", "cuda")
    )
    small = [photo[:200, :250] for photo in photos]
    for batch in (photos, small[:1], photos, small[:1], photos[::-1], small[1:2], photos[:2]):
        for one, image in zip(on_gpu.extract_many(batch), batch, strict=True):
            expected = on_processor.extract(image)
            assert len(one) == pytest.approx(len(expected), abs=3)
            if len(expected):
                distances = np.linalg.norm(one.keypoints[:, None] - expected.keypoints[None], axis=2)
                assert (distances.min(axis=1) < 0.1).mean() > 0.98
