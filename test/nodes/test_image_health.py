from visloc_ros.nodes.camera_health import ImageHealth

BEGIN_S, RATE_HZ = 100.0, 12.0


def health():
    return ImageHealth("/camera/image", BEGIN_S)


def arrived(watched, seconds, every=1):
    """Camera_infos at the camera's rate, with every n-th image; gives the time afterwards."""
    for index in range(round(seconds * RATE_HZ)):
        now_s = BEGIN_S + index / RATE_HZ
        watched.camera_info(now_s)
        if index % every == 0:
            watched.image(now_s)
            watched.used()
    return BEGIN_S + seconds


def test_images_that_come_as_they_should_are_no_problem():
    watched = health()
    assert watched.problem(arrived(watched, 10.0), num_publishers=1) == ""


def test_nothing_is_said_before_a_camera_had_time_to_start():
    assert health().problem(BEGIN_S + 1.0, num_publishers=0) == ""


def test_a_topic_that_nobody_publishes_is_named():
    words = health().problem(BEGIN_S + 4.0, num_publishers=0)
    assert words.startswith("No image comes: no node publishes /camera/image")


def test_a_publisher_whose_images_never_come_is_told_apart():
    words = health().problem(BEGIN_S + 4.0, num_publishers=1)
    assert "although it is published" in words
    assert "camera.qos" in words


def test_a_camera_that_stops_is_told_with_for_how_long():
    watched = health()
    end_s = arrived(watched, 5.0)
    assert watched.problem(end_s + 1.0, num_publishers=1) == ""
    assert watched.problem(end_s + 7.0, num_publishers=1).startswith("No image has come for 7 s on /camera/image")


def test_images_that_cannot_be_used_are_told_with_the_reason_until_one_can():
    watched = health()
    for index in range(40):
        watched.image(BEGIN_S + index / RATE_HZ)
        watched.unused(BEGIN_S + index / RATE_HZ, "an image has no stamp")
    now_s = BEGIN_S + 40 / RATE_HZ
    assert watched.problem(now_s, num_publishers=1).endswith("none can be used: an image has no stamp")
    watched.used()
    assert watched.problem(now_s, num_publishers=1) == ""


def test_one_bad_image_is_no_problem():
    watched = health()
    end_s = arrived(watched, 5.0)
    watched.unused(end_s, "an image has no stamp")
    assert watched.problem(end_s + 0.1, num_publishers=1) == ""


def test_images_that_get_lost_on_the_way_are_told_with_both_rates():
    watched = health()
    words = watched.problem(arrived(watched, 10.0, every=4), num_publishers=1)
    assert words.startswith("Only 3.0 of 12.0 images a second arrive on /camera/image")


def test_keyframes_come_as_the_camera_moves():
    watched = ImageHealth("/keyframe", BEGIN_S, are_keyframes=True)
    assert watched.problem(BEGIN_S + 4.0, num_publishers=0).startswith("No image comes")
    end_s = arrived(watched, 10.0, every=6)
    assert watched.problem(end_s, num_publishers=1) == ""
    assert watched.problem(end_s + 60.0, num_publishers=1) == ""


def test_a_camera_without_camera_info_may_be_as_slow_as_it_likes():
    watched = health()
    for index in range(10):
        watched.image(BEGIN_S + index)
        watched.used()
    assert watched.problem(BEGIN_S + 9.5, num_publishers=1) == ""
