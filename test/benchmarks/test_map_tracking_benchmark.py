"""What the figures of the map tracking benchmark are made of."""

from benchmarks import map_tracking


def test_errors_of_the_last_second_stand_beside_those_of_the_anchors():
    joins = map_tracking.Tracked(0.3, 12.0)
    early = map_tracking.Tracked(1.0, 5.0, 0.020, 0.5, 4.0, 0.020)
    late = map_tracking.Tracked(4.5, 5.0, 0.035, 0.7, 6.0, 0.025)
    lost = map_tracking.Tracked(4.6, 5.0)
    cells = dict(zip(map_tracking.HEADER, map_tracking.row_of("alone", [[joins, early, late, lost]]), strict=True))
    assert cells["starts"] == "1"
    assert cells["frames with a pose"] == "66.7 %"
    assert cells["error, cm / °"] == "2.75 / 0.60"
    assert cells["after 4-5 s, cm"] == "3.50"
    assert cells["anchors of these frames, cm"] == "2.50"
