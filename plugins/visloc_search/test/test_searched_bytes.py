"""The bytes that each way of searching reads."""

from visloc_ros.core.map import open_map
from visloc_ros.evaluation.search_comparison import searched_bytes


def test_a_search_that_needs_the_whole_map_counts_it_with_what_was_prepared(instance_room):
    place = open_map(instance_room)
    of_retrieval, of_instances = searched_bytes(place, "retrieval"), searched_bytes(place, "instances")
    assert set(of_instances) - set(of_retrieval) == {"instances.npz", "instances.json", "recogniser.pt"}
    assert of_retrieval.items() <= of_instances.items()


def test_a_search_that_needs_only_what_was_prepared_counts_that(landmark_room):
    place = open_map(landmark_room)
    of_landmarks = searched_bytes(place, "landmarks")
    assert "landmarks.npz" in of_landmarks
    assert not of_landmarks.items() & searched_bytes(place, "retrieval").items()
