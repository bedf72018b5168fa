"""What a photo's own metadata add to its place."""

import numpy as np
import pytest

from visloc_geo.solving.prior import with_prior
from visloc_geo.solving.types import BestTag, GeoKind, PhotoPose, Tag


@pytest.mark.parametrize("sigma", [0.0, np.nan, np.inf, 1e-30, 1e30])
def test_a_photo_is_not_placed_by_metadata_without_an_error(sigma):
    best = BestTag("view", np.zeros(3), 5.0, 50)
    pose = PhotoPose(GeoKind.SOLVED, np.zeros(3), np.eye(3), np.eye(6), best, np.arange(50), 60, ("view",), 1.0)
    prior = Tag(np.zeros(3), np.eye(3), position_sigma_m=sigma, height_sigma_m=sigma, heading_sigma_deg=sigma)
    assert np.array_equal(with_prior(pose, prior).covariance, pose.covariance)
