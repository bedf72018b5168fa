"""Images with texture everywhere, and features of them that are made up."""

import cv2
import numpy as np

from visloc_ros.core.feature_files import LocalFeatures


def textured(seed, height=240, width=320):
    """Overlapping random triangles all over the image, different for every seed."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(700):
        triangle = rng.integers(0, [width, height]) + rng.integers(-18, 19, (3, 2))
        cv2.fillConvexPoly(image, triangle.astype(np.int32), rng.integers(0, 256, 3).tolist())
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def features_of(descriptors, size=(640, 480)):
    """Features with these descriptors (N, D), all in one place."""
    descriptors = np.asarray(descriptors)
    count = len(descriptors)
    return LocalFeatures(np.zeros((count, 2), np.float32), np.ones(count, np.float32), descriptors, size)


def as_inputs(features):
    """What the packaged matchers take: pixels from the first one's centre, sizes in pixels, angles in radians."""
    import torch

    arrays = {"keypoints": features.keypoints - 0.5, "descriptors": features.descriptors}
    arrays["image_size"] = np.array(features.image_size, np.float32)
    if features.scales_angles is not None:
        arrays["scales"], arrays["oris"] = (np.ascontiguousarray(column) for column in features.scales_angles.T)
    return {name: torch.from_numpy(values)[None] for name, values in arrays.items()}
