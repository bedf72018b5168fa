"""A small network of streets in OpenStreetMap's XML: a grid at 60 degrees north, and what is no street."""

import numpy as np

from visloc_ros.core.wgs84 import EnuFrame

CENTRE = EnuFrame(60.0, 10.0)
SPAN_M, BETWEEN_M = 900.0, 225.0  # of each street, and of neighbours
OFFSETS = np.arange(-2, 3) * BETWEEN_M


class Network:
    """Nodes and ways, by metres east and north of the centre."""

    def __init__(self):
        self.nodes, self.ways = {}, []

    def way(self, points, **tags):
        nodes = [self.nodes.setdefault((round(x, 3), round(y, 3)), len(self.nodes) + 1) for x, y in points]
        self.ways.append((nodes, {"highway": "residential", **tags}))

    @property
    def osm(self):
        places = CENTRE.to_geodetic([[x, y, 0.0] for x, y in self.nodes])
        lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<osm version="0.6">']
        for node, (lat, lng, _) in zip(self.nodes.values(), places, strict=True):
            lines.append(f'<node id="{node}" lat="{lat:.9f}" lon="{lng:.9f}"/>')
        for number, (nodes, tags) in enumerate(self.ways, 1):
            inner = "".join(f'<nd ref="{node}"/>' for node in nodes)
            inner += "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())
            lines.append(f'<way id="{number}">{inner}</way>')
        return "\n".join([*lines, "</osm>"])


def grid_network():
    """Five streets each way, in two ways of OpenStreetMap each, and six ways that nobody walks along."""
    network = Network()
    for offset in OFFSETS:
        for part in (OFFSETS[:3], OFFSETS[2:]):
            network.way([(x, offset) for x in part])
            network.way([(offset, y) for y in part])
    low, high = OFFSETS[0] - 50.0, OFFSETS[-1] + 50.0
    for number, tags in enumerate(
        [
            {"highway": "motorway"},
            {"highway": "motorway_link"},
            {"access": "private"},
            {"foot": "no"},
            {"area": "yes"},
            {"highway": "construction"},
        ]
    ):
        network.way([(low, 10.0 * number), (high, 10.0 * number)], **tags)
    network.way([(1000.0, 0.0), (1015.0, 0.0)])  # shorter than any spacing
    return network
