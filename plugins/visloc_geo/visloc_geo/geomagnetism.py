"""The earth's magnetic field: how far a compass points from true north, by the World Magnetic Model of NOAA and BGS."""

from __future__ import annotations

import math
from calendar import isleap
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pygeomag import GeoMag

_FIRST_YEAR, _LAST_YEAR, _YEARS_OF_A_MODEL = 2010, 2030, 5
_DRIFT_DEG_PER_YEAR = 0.2  # of the declination at middle latitudes, which nobody predicts beyond the models' years
_LEAST_HORIZONTAL_NT = 2000.0  # below it, near the magnetic poles, compasses are of no use: the model's blackout zone
_SIGMA_DEG, _SIGMA_DEG_NT = 0.26, 5625.0  # of WMM2020 (its report, section 3.4), about those of the other models


class Declination(NamedTuple):
    """The angle from true north to magnetic north, clockwise, and its standard deviation, in degrees."""

    degrees: float
    sigma_deg: float


def declination(latitude: float, longitude: float, year: float | None) -> Declination | None:
    """The declination at a place in degrees, in a decimal year; None where a compass is of no use.

    Beyond the models' years (2010 to 2030), and where no year is known, the sigma grows.
    """
    middle = (_FIRST_YEAR + _LAST_YEAR) / 2
    at = min(max(middle if year is None else year, _FIRST_YEAR), _LAST_YEAR)
    years_off = middle - _FIRST_YEAR if year is None else abs(year - at)
    field = _model(at).calculate(glat=latitude, glon=longitude, alt=0.0, time=at)
    if field.h < _LEAST_HORIZONTAL_NT:
        return None
    sigma = math.hypot(_SIGMA_DEG, _SIGMA_DEG_NT / field.h, _DRIFT_DEG_PER_YEAR * years_off)
    return Declination(field.d, sigma)


def decimal_year(when: datetime) -> float:
    """A time as a year and its fraction."""
    days = 366 if isleap(when.year) else 365
    return when.year + (when.replace(tzinfo=None) - datetime(when.year, 1, 1)) / timedelta(days=days)


def _model(year: float) -> GeoMag:
    newest = _LAST_YEAR - _YEARS_OF_A_MODEL
    return _load(min(int(year) // _YEARS_OF_A_MODEL * _YEARS_OF_A_MODEL, newest))


@cache
def _load(base_year: int) -> GeoMag:
    from pygeomag import GeoMag  # needed only where a compass was read

    return GeoMag(base_year=base_year)
