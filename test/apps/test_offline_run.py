import numpy as np

from visloc_ros.apps.offline_run import FUSED, RunListener, words_of_tracking
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.types import LoopClosure, Reason, Rejection


def test_the_report_says_how_many_frames_the_followed_points_located():
    outcomes = {"STALE": 3, FUSED: 90, "FEW_MATCHES": 7}
    assert words_of_tracking(outcomes) == "followed map points gave 90 of 100 frames a pose (7 FEW_MATCHES, 3 STALE)"
    assert words_of_tracking({FUSED: 5}) == "followed map points gave 5 of 5 frames a pose"


def test_loops_are_kept_for_hindsight_whatever_the_fuser_made_of_them():
    listener, loop = RunListener(), LoopClosure(1, 2, Sim3.identity(), np.eye(7))
    listener.on_loop(loop, None)
    listener.on_loop(loop, Rejection(2, Reason.STALE))
    assert listener.measurements.loops == [loop, loop]
