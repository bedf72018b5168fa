"""Scale and axes from WGS 84 positions: published coordinates, exactly known paths, and real photos."""

import json

import numpy as np
import pycolmap
import pytest
from unscaled import MAP_FROM_SFM

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import rotation_angle_deg, rotation_matrix
from visloc_ros.mapping.geo import fit_to_positions, local_positions, middle_position
from visloc_ros.mapping.gravity import Up
from visloc_ros.sources.measurements import GeoPosition

ORIGIN = GeoPosition(55.7, 13.2, 30.0)
PARAMETER = np.linspace(0.0, 1.0, 40)
LINE = np.stack([200.0 * PARAMETER, 50.0 * PARAMETER, 0.0 * PARAMETER], axis=1)
LOOP = np.stack([60.0 * np.cos(6 * PARAMETER), 40.0 * np.sin(6 * PARAMETER), np.sin(9 * PARAMETER)], axis=1)
EXACT_UP = Up(MAP_FROM_SFM.rotation.T @ [0.0, 0.0, 1.0], 1.0, "imu")


def geo_positions(path, noise):
    local = path + noise
    geodetic = pycolmap.GPSTransform().enu_to_ellipsoid(local, ORIGIN.latitude, ORIGIN.longitude, ORIGIN.altitude)
    return {f"{index}.jpg": GeoPosition(*values) for index, values in enumerate(geodetic.tolist())}


def noise_of(path, sigma, outliers=0, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 1.0, path.shape) * [sigma, sigma, 2 * sigma]
    wrong = rng.permutation(len(path))[:outliers]
    noise[wrong] += rng.normal(0.0, 200.0, (outliers, 3))
    return noise


def shared_noise(path, sigma, length, seed):
    """Errors that neighbours share, as a receiver's (a Gauss-Markov process along the way)."""
    rng = np.random.default_rng(seed)
    along = np.r_[0.0, np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()]
    correlation = np.exp(-np.abs(along[:, None] - along) / length)
    return sigma * np.linalg.cholesky(correlation) @ rng.normal(size=path.shape) * [1.0, 1.0, 2.0]


def fit(path, up=None, sigma=2.0, outliers=0, seed=0):
    return fit_noisy(path, noise_of(path, sigma, outliers, seed), up, sigma)


def fit_noisy(path, noise, up=None, assumed=5.0):
    centres = {f"{index}.jpg": MAP_FROM_SFM.inverse @ point for index, point in enumerate(path)}
    return fit_to_positions(centres, geo_positions(path, noise), up, assumed)


def scale_off(found):
    return abs(found.map_from_sfm.scale / MAP_FROM_SFM.scale - 1.0)


def axes_off_deg(found):
    return rotation_angle_deg(found.map_from_sfm.rotation, MAP_FROM_SFM.rotation)


def degrees(d, m, s):
    return d + m / 60.0 + s / 3600.0


class TestLocalPositions:
    def test_the_example_of_the_epsg_guidance_note(self):
        """IOGP publication 373-7-2, topocentric conversion 9837 on WGS 84."""
        point = GeoPosition(degrees(53, 48, 33.820), degrees(2, 7, 46.380), 73.0)
        local = local_positions([point], GeoPosition(55.0, 5.0, 200.0))[0]
        assert np.allclose(local, [-189013.869, -128642.040, -4220.171], atol=2e-3)

    def test_positions_of_another_program(self, shared_data):
        """OpenSfM's local coordinates of three photos, x east, y north, z up."""
        (result,) = json.loads((shared_data / "street_berlin" / "reconstruction_example.json").read_text())
        reference = result["reference_lla"]
        origin = GeoPosition(reference["latitude"], reference["longitude"], reference["altitude"])
        photo = GeoPosition(degrees(52, 31, 8.57), degrees(13, 24, 1.61), 39.0)
        assert np.allclose(local_positions([photo], origin)[0], result["shots"]["03.jpg"]["gps_position"])

    def test_missing_heights_are_those_of_the_others(self):
        positions = [GeoPosition(55.7, 13.2, height) for height in (10.0, None, 50.0)]
        assert np.allclose(local_positions(positions, ORIGIN)[:, 2], [-20.0, 0.0, 20.0])
        flat = [GeoPosition(55.7, 13.2)] * 3
        assert np.allclose(local_positions(flat, flat[0]), 0.0)

    def test_the_origin_is_a_middle_one_even_across_the_date_line(self):
        places = [GeoPosition(-17.0, longitude, 3.0) for longitude in (179.9, 179.99, -179.98, 20.0)]
        assert abs(middle_position(places).longitude) > 179.0
        assert middle_position([*places, GeoPosition(-17.0, 179.995)]).altitude is not None


class TestFit:
    @pytest.mark.parametrize("seed", range(4))
    def test_a_loop_gives_scale_and_axes_within_their_errors(self, seed):
        found = fit(LOOP, seed=seed)
        assert scale_off(found) < 3 * found.scale_error < 0.05
        assert axes_off_deg(found) < 3 * found.axes_error_deg < 10.0

    def test_exact_positions_give_the_exact_similarity(self):
        found = fit(LOOP, sigma=1e-3)
        assert scale_off(found) < 1e-5
        assert axes_off_deg(found) < 1e-2
        placed = found.map_from_sfm @ (MAP_FROM_SFM.inverse @ LOOP)
        assert np.allclose(placed, local_positions(list(geo_positions(LOOP, 0.0).values()), found.origin), atol=0.01)

    def test_the_errors_are_what_repetition_shows(self):
        found = [fit(LOOP, seed=seed) for seed in range(30)]
        shown = np.sqrt(np.mean([scale_off(one) ** 2 for one in found]))
        assert 0.6 < shown / np.mean([one.scale_error for one in found]) < 1.5

    @pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
    def test_residuals_show_the_error_of_positions_that_state_none(self, sigma):
        found = [fit_noisy(LOOP, noise_of(LOOP, sigma, seed=seed)) for seed in range(30)]
        shown = np.sqrt(np.mean([scale_off(one) ** 2 for one in found]))
        assert 0.5 < shown / np.mean([one.scale_error for one in found]) < 1.3

    def test_errors_that_neighbours_share_count_as_fewer(self):
        found = [fit_noisy(LOOP, shared_noise(LOOP, 1.0, 20.0, seed)) for seed in range(30)]
        shown = np.sqrt(np.mean([scale_off(one) ** 2 for one in found]))
        assert 0.5 < shown / np.mean([one.scale_error for one in found]) < 1.5

    def test_a_straight_line_leaves_roll_open_and_says_so(self):
        found = fit(LINE)
        assert found.axes_error_deg == 180.0
        assert scale_off(found) < 3 * found.scale_error < 0.05

    def test_up_settles_a_straight_line(self):
        found = fit(LINE, EXACT_UP)
        assert found.axes_error_deg < 2.0
        assert axes_off_deg(found) < 3.0
        assert found.tilt_error_deg == 180.0

    @pytest.mark.parametrize(("path", "up"), [(LOOP, None), (LINE, EXACT_UP)])
    def test_a_quarter_of_wrong_positions_is_no_harm(self, path, up):
        found = fit(path, up, outliers=10)
        assert len(found.outliers) >= 8
        assert scale_off(found) < 0.03
        assert axes_off_deg(found) < 6.0

    def test_a_short_path_is_known_not_to_suffice(self):
        assert fit(0.03 * LINE, EXACT_UP).scale_error > 0.1

    def test_positions_that_state_their_error_count_by_it(self):
        noise = noise_of(LOOP, 0.02)
        noise[::2] *= 500
        positions = geo_positions(LOOP, noise)
        stated = {
            name: GeoPosition(one.latitude, one.longitude, one.altitude, 0.02 if index % 2 else 10.0)
            for index, (name, one) in enumerate(positions.items())
        }
        centres = {f"{index}.jpg": MAP_FROM_SFM.inverse @ point for index, point in enumerate(LOOP)}
        assert scale_off(fit_to_positions(centres, stated, None, 5.0)) < 1e-3


class TestRefusal:
    def test_too_few_positions(self):
        with pytest.raises(MapError, match="3 registered images have a GPS position"):
            fit(LOOP[:3])

    def test_a_receiver_that_repeats_itself(self):
        centres = {f"{index}.jpg": point for index, point in enumerate(LOOP)}
        with pytest.raises(MapError, match="do not move"):
            fit_to_positions(centres, dict.fromkeys(centres, ORIGIN), None, 5.0)

    def test_a_camera_that_stands_still(self):
        centres = {f"{index}.jpg": np.zeros(3) for index in range(len(LOOP))}
        with pytest.raises(MapError, match="do not move"):
            fit_to_positions(centres, geo_positions(LOOP, 0.0), None, 5.0)

    def test_positions_of_another_place(self):
        rng = np.random.default_rng(0)
        centres = {f"{index}.jpg": point for index, point in enumerate(rng.normal(0, 1, LOOP.shape))}
        with pytest.raises(MapError, match="contradict the reconstruction"):
            fit_to_positions(centres, geo_positions(LOOP, 0.0), None, 1.0)

    def test_a_mirrored_path_is_not_taken_for_the_true_one(self):
        """Seen from below a loop turns the other way; up, where it is known, contradicts that."""
        centres = {f"{index}.jpg": point * [1.0, -1.0, 1.0] for index, point in enumerate(LOOP)}
        up = Up(np.array([0.0, 0.0, 1.0]), 1.0, "imu")
        with pytest.raises(MapError, match="contradict the reconstruction"):
            fit_to_positions(centres, geo_positions(LOOP, 0.0), up, 1.0)


def test_small_rotations_of_up_do_not_break_a_good_loop():
    tilted = Up(rotation_matrix([0.2, 0.0, 0.0]) @ EXACT_UP.direction, 10.0, "level camera")
    assert axes_off_deg(fit(LOOP, tilted)) < 6.0
