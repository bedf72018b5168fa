from datetime import datetime, timezone

import pytest

from visloc_geo.geomagnetism import decimal_year, declination


@pytest.mark.parametrize(("place", "degrees"), [((80.0, 0.0), -1.28), ((0.0, 120.0), 0.16), ((-80.0, 240.0), 69.36)])
def test_the_test_values_of_the_model_of_2020_are_met(place, degrees):
    found = declination(*place, 2020.0)
    assert found.degrees == pytest.approx(degrees, abs=0.005)
    assert 0.26 < found.sigma_deg < 1.5


def test_each_year_has_its_own_model_and_the_sigma_grows_beyond_them():
    in_portland = [declination(45.5, -122.6, year) for year in (2012.0, 2017.0, 2022.0, 2026.0)]
    assert [round(one.degrees, 1) for one in in_portland] == sorted(round(one.degrees, 1) for one in in_portland)[::-1]
    assert in_portland[0].degrees - in_portland[-1].degrees == pytest.approx(1.6, abs=0.2)
    sigmas = [declination(45.5, -122.6, year).sigma_deg for year in (2010.0, 2000.0, 1990.0)]
    assert sigmas[0] < 0.5
    assert sigmas[1:] == pytest.approx([2.0, 4.0], abs=0.1)


def test_without_a_year_the_sigma_says_so():
    assert declination(45.5, -122.6, None).sigma_deg == pytest.approx(2.0, abs=0.1)


def test_near_a_magnetic_pole_there_is_none():
    assert declination(86.0, 160.0, 2022.0) is None


def test_years_have_fractions():
    assert decimal_year(datetime(2023, 1, 1)) == 2023.0
    assert decimal_year(datetime(2024, 7, 2, tzinfo=timezone.utc)) == pytest.approx(2024.5)
    assert decimal_year(datetime(9999, 12, 31)) == pytest.approx(9999.997, abs=1e-3)
