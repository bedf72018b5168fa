"""What spoils images leaves things where they are: otherwise the true poses would not be true."""

import numpy as np
import pytest

from benchmarks.anchor.spoiling import line_kernel


@pytest.mark.parametrize("length_px", [10, 20, 40])
def test_a_smear_is_centred(length_px):
    for angle in np.linspace(0.0, np.pi, 25):
        kernel = line_kernel(length_px, angle)
        places = np.indices(kernel.shape) - (np.array(kernel.shape) - 1)[:, None, None] / 2.0
        np.testing.assert_allclose((kernel * places).sum(axis=(1, 2)), 0.0, atol=1e-3)
        assert kernel.sum() == pytest.approx(1.0)
