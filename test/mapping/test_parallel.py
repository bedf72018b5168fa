"""Work side by side: in order, bounded, and ended by the first failure."""

import threading

import pytest

from visloc_ros.mapping.parallel import PerThread, count_workers, map_in_order


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    first_may_end = threading.Event()

    def double(item):
        if item == 0 and workers > 1:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return 2 * item

    assert list(map_in_order(double, range(20), workers)) == [2 * item for item in range(20)]


def test_items_are_not_drawn_long_before_they_are_needed():
    drawn = []

    def items():
        for item in range(100):
            drawn.append(item)
            yield item

    results = map_in_order(lambda item: item, items(), 2)
    next(results)
    assert len(drawn) <= 5
    results.close()


def test_a_failure_reaches_the_caller_and_ends_the_work():
    done = []

    def fail_at_three(item):
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(1000), 2))
    assert len(done) < 20


def test_every_thread_has_a_model_of_its_own():
    made = []
    models = PerThread(lambda: made.append(object()) or made[-1])
    together = threading.Barrier(3)

    def take(_):
        together.wait(10)
        return models(), models()

    taken = list(map_in_order(take, range(3), 3))
    assert all(first is again for first, again in taken)
    assert {id(first) for first, _ in taken} == {id(model) for model in made}
    assert len(made) == 3
    assert models.first is made[0]


def test_the_number_of_workers_is_bounded():
    assert count_workers(7) == 7
    assert 1 <= count_workers(0) <= 4
