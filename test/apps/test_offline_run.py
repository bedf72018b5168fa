from visloc_ros.apps.offline_run import FUSED, words_of_tracking


def test_the_report_says_how_many_frames_the_followed_points_located():
    outcomes = {"STALE": 3, FUSED: 90, "FEW_MATCHES": 7}
    assert words_of_tracking(outcomes) == "followed map points gave 90 of 100 frames a pose (7 FEW_MATCHES, 3 STALE)"
    assert words_of_tracking({FUSED: 5}) == "followed map points gave 5 of 5 frames a pose"
