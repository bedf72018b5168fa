from dataclasses import replace

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import State
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.initialization.alignment_search import AlignmentSearch
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometryHistory
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel
from visloc_ros.simulation.fusion_replay import play
from visloc_ros.simulation.fusion_runs import simulate_run
from visloc_ros.simulation.fusion_scenario import FusionScenario

CONFIG = FusionConfig()
ELSEWHERE = SE3(rotation_matrix([0.0, 0.0, 1.0]), np.array([8.0, 2.0, 0.0]))
RUN = simulate_run(FusionScenario(duration_s=20.0, rate_hz=10.0, delay_s=(0.0, 0.0)), 0)


def moved(anchor):
    return replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera)


def test_two_refused_anchors_that_agree_confirm_each_other():
    history = OdometryHistory(60.0, 1.0)
    for odometry in RUN.odometry:
        history.append(odometry)
    right, there, there_too = (anchor for _, anchor in RUN.anchors[5:8])
    fixes = [make_fix(history.at(a.stamp_ns), a, CONFIG.anchor_noise) for a in (right, moved(there), moved(there_too))]
    scale, odometry = ScalePrior(float(np.log(RUN.scales[70])), 0.1), OdometryModel(CONFIG.odometry_noise, 0.0)
    search = AlignmentSearch(CONFIG)
    search.add(fixes[0])
    search.add(fixes[1])
    assert not search.is_confirmed(fixes[1], 0, scale, odometry)
    search.add(fixes[2])
    assert search.is_confirmed(fixes[2], 0, scale, odometry)
    assert not search.is_confirmed(fixes[2], there_too.stamp_ns, scale, odometry)


def test_a_moved_camera_is_not_called_localized_once_two_anchors_say_so():
    begin_ns = RUN.stamps_ns[100]
    anchors = [(t, moved(a) if a.stamp_ns >= begin_ns else a) for t, a in RUN.anchors]
    told_ns = [t for t, a in anchors if a.stamp_ns >= begin_ns][1]
    fuser = Fuser(CONFIG, metric=True)
    estimates = play(fuser, replace(RUN, anchors=anchors))
    sure = [e for e in estimates if e.state is State.LOCALIZED and e.stamp_ns >= told_ns]
    assert sure
    for estimate in sure:
        true = ELSEWHERE @ RUN.truth[RUN.stamps_ns.index(estimate.stamp_ns)]
        assert np.linalg.norm(estimate.map_from_camera.translation - true.translation) < 0.3
    contradicted = [e for e in estimates if told_ns <= e.stamp_ns < told_ns + NANOSECONDS]
    assert {e.state for e in contradicted} == {State.DEGRADED}
