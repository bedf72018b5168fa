import pytest
from scipy.stats import chi2

from visloc_ros.core.statistics import chi_square_quantile


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 6])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.99, 0.999])
def test_quantiles_agree_with_scipy(probability, degrees_of_freedom):
    expected = chi2.ppf(probability, degrees_of_freedom)
    assert chi_square_quantile(probability, degrees_of_freedom) == pytest.approx(expected)
