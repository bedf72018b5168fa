"""Quantiles of the chi-square distribution; scipy.stats would cost every command a second of start-up."""


def chi_square_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Value that a chi-square variable stays below with a probability."""
    from scipy.special import gammaincinv  # takes 0.2 s, so it is imported only when needed

    return float(2.0 * gammaincinv(0.5 * degrees_of_freedom, probability))
