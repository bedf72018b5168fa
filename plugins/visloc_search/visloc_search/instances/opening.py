"""Opens the instances of maps, and their recognisers, for a search or a look at single images."""

from __future__ import annotations

from visloc_ros.core.map import Map
from visloc_search.instances.config import INSTANCES
from visloc_search.instances.instance_files import load_instances
from visloc_search.instances.instance_map import InstanceMap
from visloc_search.instances.recognition import InstanceRecogniser
from visloc_search.reduced_map.provenance import prepared_files


def open_instances(map_: Map, device: str = "auto") -> tuple[InstanceMap, InstanceRecogniser]:
    """The instances of a map, and what recognises them, on a device.

    Raises MapError where the map was not prepared, or the files are broken or of another version of the map;
    ModelError where the weights are.
    """
    from visloc_ros.features.backends.weights import pick_device  # torch takes a second
    from visloc_search.instances.backends.recogniser import NetworkRecogniser, load_network

    instances, weights = load_instances(map_, prepared_files(map_, INSTANCES, INSTANCES))
    return instances, NetworkRecogniser(load_network(weights, instances.num_classes).to(pick_device(device)))
