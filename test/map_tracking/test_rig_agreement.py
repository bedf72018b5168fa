"""Which cameras of a rig are believed where they contradict each other."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.map_tracking.rig.agreement import Agreement, ExpectedPose, OwnPose
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera

SIGMA = 5e-3
OWN = SIGMA**2 * np.eye(6)
ANCHOR = 1e-2**2 * np.eye(6)
FRAME_NS = 100_000_000


def at(metres):
    return SE3(np.eye(3), np.array([metres, 0.0, 0.0]))


def choose(agreement, places, expected=None, frame=0, earlier=frozenset(), **odometry):
    """Names of the cameras that are believed; each says that the body is at a place, and is there itself."""
    poses = {name: PoseByCamera(at(metres), np.eye(6), OWN) for name, metres in places.items()}
    own = {name: OwnPose(at(metres), OWN) for name, metres in places.items()}
    where = None if expected is None else ExpectedPose(at(expected), OWN, **odometry)
    return sorted(agreement.choose(frame * FRAME_NS, poses, own, ANCHOR, where, earlier))


@pytest.fixture
def agreement():
    """The front camera leads, and has agreed with the left one."""
    made = Agreement("front")
    assert choose(made, {"front": 0.0, "left": 0.002}) == ["front", "left"]
    return made


def test_a_camera_that_stands_while_the_other_one_moves_is_left_out_whichever_leads(agreement):
    assert choose(agreement, {"front": 0.0, "left": 0.2}) == ["left"]
    assert not agreement.is_trusted("front")
    other = Agreement("left")
    choose(other, {"front": 0.0, "left": 0.0})
    assert choose(other, {"front": 0.0, "left": 0.2}) == ["left"]


def test_of_two_that_move_the_one_is_believed_that_is_where_the_motion_leads(agreement):
    assert choose(agreement, {"front": -0.3, "left": 0.1}, expected=0.1) == ["left"]


def contradict(agreement, start=0.1):
    """Both move, and nothing shows which of the two is wrong: for two frames there is no pose."""
    for step, chosen in enumerate([[], [], ["front"]]):
        assert choose(agreement, {"front": start + 0.1 * step, "left": start + 0.4 + 0.1 * step}) == chosen


def test_without_a_reason_the_leading_camera_is_believed_after_some_frames(agreement):
    contradict(agreement)
    assert not agreement.is_trusted("left")


def test_of_two_that_have_moved_the_one_that_moves_on_is_believed(agreement):
    """On a busy computer few frames are compared: a camera that has just stuck has moved since the last one."""
    assert choose(agreement, {"front": 0.1, "left": 0.2}) == []
    assert choose(agreement, {"front": 0.1, "left": 0.4}) == ["left"]
    assert not agreement.is_trusted("front")


def test_a_camera_that_stands_where_the_motion_so_far_leads_is_not_believed_before_the_other_one_moves_on(agreement):
    """A robot that stood begins to move while one of its cameras sticks; a camera that slips once moves no farther."""
    for places, chosen in (
        ({"front": 0.0, "left": 0.1}, []),
        ({"front": 0.0, "left": 0.2}, []),
        ({"front": 0.0, "left": 0.3}, ["left"]),
    ):
        assert choose(agreement, places, expected=0.0) == chosen
    slipped = Agreement("front")
    choose(slipped, {"front": 0.0, "left": 0.0})
    assert [choose(slipped, {"front": 0.0, "left": 0.1}, expected=0.0) for _ in range(2)] == [[], ["front"]]


def test_a_camera_alone_that_leaves_the_motion_so_far_waits_for_the_other_one(agreement):
    assert choose(agreement, {"front": 0.1}, expected=0.1, frame=1) == ["front"]
    assert not agreement.needs_others
    assert choose(agreement, {"front": 0.1}, expected=0.2, frame=2) == []
    assert choose(agreement, {"front": 0.1}, expected=0.1, frame=3) == [], "it has become the motion so far"
    assert agreement.needs_others
    assert agreement.unconfirmed_s(3 * FRAME_NS) == pytest.approx(0.3)
    assert choose(agreement, {"front": 0.1, "left": 0.1}, frame=4) == ["front", "left"]
    assert choose(agreement, {"front": 0.2}, expected=0.2, frame=5) == ["front"]


def test_a_camera_beside_alone_that_leaves_the_motion_so_far_is_not_believed_while_odometry_goes_on(agreement):
    """Each third image is an old one, while the leading camera does not see the map."""
    agreement.lost("front")
    assert choose(agreement, {"left": -0.7}, expected=0.1, odometry_agrees=True, frame=1) == []
    assert choose(agreement, {"left": 0.2}, expected=0.2, odometry_agrees=True, frame=2) == ["left"]
    assert choose(agreement, {"left": 0.7}, expected=0.3, odometry_leaps=True, frame=3) == ["left"]


def test_an_earlier_image_does_not_confirm_a_leap_of_odometry_by_which_it_was_moved(agreement):
    """What the leading camera shows has just stuck."""
    leap = {"expected": 0.1, "odometry_leaps": True}
    assert choose(agreement, {"front": 0.0, "left": 0.0}, earlier={"left"}, frame=1, **leap) == []
    assert choose(agreement, {"front": 0.0, "left": 0.2}, expected=0.1, earlier={"left"}, frame=2) == ["left"]
    stopped = Agreement("front")
    choose(stopped, {"front": 0.0, "left": 0.0})
    assert choose(stopped, {"front": 0.0, "left": 0.0}, frame=1, **leap) == ["front", "left"]


def test_cameras_that_never_agreed_are_unconfirmed_since_they_are_judged():
    agreement = Agreement("front")
    for frame in (3, 5):
        agreement.judge_images(frame * FRAME_NS, "left")
    assert agreement.unconfirmed_s(5 * FRAME_NS) == pytest.approx(0.2)


def test_nobody_waits_for_a_camera_that_does_not_see_the_map(agreement):
    agreement.lost("left")
    assert choose(agreement, {"front": 0.1}, expected=0.4, frame=1) == ["front"]
    late = Agreement("front")
    choose(late, {"front": 0.0, "left": 0.0})
    assert choose(late, {"front": 0.1}, expected=0.4, frame=6) == ["front"], "it has not come for long"


def test_the_motion_so_far_of_a_camera_that_left_it_alone_is_no_evidence_for_that_camera(agreement):
    """The leading camera sticks while the other one does not see the map; at the next anchor both see it."""
    agreement.lost("left")
    assert choose(agreement, {"front": 0.1}, expected=0.4, frame=1) == ["front"]
    for name in ("front", "left"):
        agreement.restart(name, at(-0.3), is_seen=None)
    assert choose(agreement, {"front": 0.1, "left": 0.5}, expected=0.1, frame=2) == []
    assert choose(agreement, {"front": 0.1, "left": 0.8}, expected=0.1, frame=3) == ["left"]


def test_other_cameras_are_needed_once_the_leading_one_stops(agreement):
    for frame, metres in enumerate((0.2, 0.4, 0.4), start=6):  # the other one has not seen the map for long
        assert choose(agreement, {"front": metres}, frame=frame) == ["front"]
    assert agreement.needs_others


def test_other_cameras_are_needed_while_the_leading_one_stands(agreement):
    assert choose(agreement, {"front": 0.0}, frame=1) == ["front"]
    assert agreement.needs_others


def test_images_that_stand_beside_others_that_move_are_not_believed_for_long(agreement):
    for frame in (1, 2):
        agreement.judge_images(frame * FRAME_NS, "left")
        assert choose(agreement, {"front": 0.0}, frame=frame) == []
        assert agreement.is_trusted("front"), "the clock of the other camera may be late"
    agreement.judge_images(3 * FRAME_NS, None)
    assert choose(agreement, {"front": 0.0}, frame=3) == ["front"]
    agreement.distrust("left")
    for frame in (4, 5, 6):
        agreement.judge_images(frame * FRAME_NS, "left")
    assert (agreement.is_trusted("front"), agreement.is_trusted("left")) == (False, True)
    agreement.lead("left")
    assert choose(agreement, {"left": 0.3}, frame=7) == ["left"], "the one that leads now has not stood still"


def test_a_camera_that_has_not_moved_since_its_anchor_is_left_out_by_the_first_frame():
    agreement = Agreement("front")
    for name in ("front", "left"):
        agreement.restart(name, at(0.0), is_seen=True)
    assert choose(agreement, {"front": 0.0, "left": 0.2}) == ["left"]


def test_of_two_that_move_the_one_is_believed_that_saw_the_anchor_itself():
    """A mirrored camera follows whatever is where points of an anchor by the other camera should be."""
    agreement = Agreement("front")
    agreement.restart("front", at(0.0), is_seen=False)
    agreement.restart("left", at(0.0), is_seen=None)
    assert choose(agreement, {"front": -0.2, "left": 0.2}) == ["left"]
    assert not agreement.is_trusted("front")


def test_three_cameras_decide_by_their_number():
    agreement = Agreement("front")
    choose(agreement, {"front": 0.0, "left": 0.0, "rear": 0.0})
    assert choose(agreement, {"front": 0.5, "left": 0.1, "rear": 0.1}) == ["left", "rear"]


def test_trust_comes_back_with_agreement_in_motion_not_at_rest(agreement):
    contradict(agreement)
    agreement.restart("left", at(0.3), is_seen=False)  # by another anchor it is where the others are, until they move
    assert choose(agreement, {"front": 0.3, "left": 0.3}) == ["front"]
    assert not agreement.is_trusted("left")
    choose(agreement, {"front": 0.5, "left": 0.5})
    assert agreement.is_trusted("left")
    assert choose(agreement, {"front": 0.6, "left": 0.6}) == ["front", "left"]


def test_a_camera_alone_that_is_not_trusted_gives_no_pose_until_the_map_is_seen_in_it(agreement):
    contradict(agreement)
    agreement.restart("left", at(0.5), is_seen=True)
    assert not agreement.is_trusted("left"), "the other one sees the map as well"
    assert choose(agreement, {"left": 0.7}, frame=1) == []
    agreement.restart("left", at(0.5), is_seen=True)
    assert choose(agreement, {"left": 0.5}, frame=2) == ["left"]


def test_a_camera_that_always_differs_a_little_counts_less():
    rng = np.random.default_rng(0)
    straight, bent = Agreement("front"), Agreement("front")
    for _ in range(60):
        noise = dict(zip(("front", "left"), rng.normal(scale=SIGMA, size=2), strict=True))
        choose(straight, noise)
        choose(bent, {**noise, "left": noise["left"] + 4.0 * SIGMA})
    poses = {name: PoseByCamera(at(0.0), np.eye(6), OWN) for name in ("front", "left")}
    own = {name: OwnPose(at(0.0), OWN) for name in poses}
    widths = [one.choose(0, poses, own, ANCHOR)["left"].own[0, 0] for one in (straight, bent)]
    assert widths[0] < 2.0 * SIGMA**2
    assert widths[1] > 5.0 * SIGMA**2
