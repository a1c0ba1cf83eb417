"""Mean and confidence interval of a few repeated measurements."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_and_half_width(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the mean and the half-width of its Student t-interval.

    The half-width is `t * s / sqrt(n)` with the sample's standard deviation `s`
    (n - 1 in the denominator) and the two-sided quantile `t` of n - 1 degrees of
    freedom. For paired runs, give the differences of the pairs.

    Args:
        values: The measurements, one per seed.
        confidence: Probability that the interval covers the mean.

    Returns:
        Mean and half-width. The half-width of a single value is NaN: one
        measurement says nothing about its spread.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> mean, half_width = mean_and_half_width([1.0, 2.0, 3.0])
        >>> round(mean, 3), round(half_width, 3)
        (2.0, 2.484)
    """
    if len(values) == 0:
        raise ValueError("`values` must not be empty. Received: values=[]")
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return mean, float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))
