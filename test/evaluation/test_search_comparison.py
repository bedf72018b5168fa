"""Ways of searching side by side: the bytes that each reads, and the numbers on the axes of the picture."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

from visloc_ros.core.map import open_map
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.evaluation import search_plots
from visloc_ros.evaluation.search_comparison import SearchRecord, searched_bytes


def test_a_search_that_needs_only_what_was_prepared_counts_that(prepared_room):
    place, search = open_map(prepared_room[0]), prepared_room[1]
    of_search = searched_bytes(place, search)
    assert of_search.keys() == place.prepared[search].keys()
    assert not of_search.items() & searched_bytes(place, "retrieval").items()


def test_the_axes_of_the_picture_have_plain_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr(search_plots, "to_png", lambda figure: figures.append(figure) or b"")
    times = [Rejection(0, Reason.FEW_INLIERS, stage_ms={"pnp": ms}) for ms in (45.0, 80.0, 220.0)]
    record = SearchRecord(times, [None] * 3)
    search_plots.draw_comparison("images in a room", {"retrieval": record, "another": record})
    FigureCanvasAgg(figures[0]).draw()
    shown = [tick.get_text() for axes in figures[0].axes for tick in axes.get_yticklabels(which="both")]
    assert "100" in shown
    assert "60" in shown
    assert not any("$" in one for one in shown)
