"""How sure a focal length is said to be, by models whose images tell it with noise that is known."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA
from visloc_ros.mapping.camera_knowledge import CALIBRATION, ESTIMATE, GUESS, assess_cameras, focal_sigma
from visloc_ros.mapping.map_sources import MapCamera

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 600.0


def model(seed=0, noise_px=0.5, num_images=8, depth=(3.0, 8.0), turn=0.4):
    """Images around a cloud of points, with noisy keypoints; turned and moved as hands do."""
    rng = np.random.default_rng(seed)
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=[FOCAL_PX, WIDTH / 2, HEIGHT / 2, 0.0], camera_id=1
    )
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(camera)
    points = np.column_stack([rng.uniform(-2, 2, 120), rng.uniform(-1.5, 1.5, 120), rng.uniform(*depth, 120)])
    tracks = [pycolmap.Track() for _ in points]
    for image_id in range(1, num_images + 1):
        pose = SE3.from_rotation_vector(rng.normal(0, turn / 3, 3), rng.uniform(-1, 1, 3))
        pixels = project(camera, pose.inverse @ points)
        seen = np.flatnonzero(np.all((pixels > 0) & (pixels < [WIDTH, HEIGHT]), axis=1))
        noisy = pixels[seen] + rng.normal(0, noise_px, (len(seen), 2))
        image = pycolmap.Image(name=f"{image_id}.jpg", keypoints=noisy, camera_id=1, image_id=image_id)
        reconstruction.add_image_with_trivial_frame(image, pose.inverse.to_rigid3d())
        for row, point in enumerate(seen):
            tracks[point].add_element(image_id, row)
    for point, track in zip(points, tracks, strict=True):
        if track.length() >= 2:
            reconstruction.add_point3D(point, track)
    return reconstruction


def adjust(reconstruction):
    """Refine all, the focal length and distortion, too."""
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.reg_image_ids():
        problem.add_image(image_id)
    problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, problem, reconstruction).solve()
    return reconstruction


def sigma_of(reconstruction):
    images = [reconstruction.images[image_id] for image_id in sorted(reconstruction.reg_image_ids())]
    return focal_sigma(reconstruction, reconstruction.cameras[1], images)


def test_the_standard_deviation_is_that_of_repeated_adjustments():
    errors, sigmas = [], []
    for seed in range(12):
        adjusted = adjust(model(seed))
        sigmas.append(sigma_of(adjusted))
        errors.append(adjusted.cameras[1].focal_length / FOCAL_PX - 1.0)
    normalized = np.array(errors) / sigmas
    assert 0.6 < np.sqrt(np.mean(normalized**2)) < 1.6
    assert max(sigmas) < 0.02


def test_more_images_narrow_it_and_noisier_ones_less():
    usual = sigma_of(model())
    assert sigma_of(model(num_images=40)) < 0.7 * usual
    assert sigma_of(model(noise_px=1.5)) > 2.0 * usual


def test_a_camera_that_only_moves_sideways_past_a_wall_determines_little():
    assert sigma_of(model(depth=(5.0, 5.001), turn=0.0)) > 5.0 * sigma_of(model())


def test_points_that_the_lens_cannot_show_do_no_harm():
    reconstruction = model()
    point = next(iter(reconstruction.points3D.values()))
    point.xyz = [0.0, 0.0, -5.0]
    assert 0.0 < sigma_of(reconstruction) < 0.1


@pytest.mark.parametrize(
    ("calibrated", "fixed", "source"),
    [(True, False, CALIBRATION), (False, False, ESTIMATE), (False, True, GUESS)],
)
def test_cameras_are_known_by_calibration_by_estimate_or_not_at_all(calibrated, fixed, source):
    reconstruction = model()
    names = [image.name for image in reconstruction.images.values()]
    cameras = dict.fromkeys(names, MapCamera(reconstruction.cameras[1], calibrated))
    (known,) = assess_cameras(reconstruction, cameras, names if fixed else ())
    assert known.source == source
    words = {CALIBRATION: "as calibrated", ESTIMATE: "estimated from the images", GUESS: "only guessed"}
    assert str(known).startswith("camera 640x480: focal length 600.0 px")
    assert str(known).endswith(words[source])
    if source == ESTIMATE:
        assert MAP_FOCAL_SIGMA < known.focal_sigma < 0.02
    assert assess_cameras(reconstruction, {}) == []
