"""One search from its request to its answer, in whichever process it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Anchor, MapIdentity
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_server.answers import LocalizeAnswer
from visloc_server.device_queue import Search, SearchRequest
from visloc_server.resident_maps import ResidentMaps

Extract = Callable[[Search, AnchorEngine], Query]


def answer_search(maps: ResidentMaps, search: Search, extract: Extract) -> LocalizeAnswer:
    """The answer to a search; ``extract`` gives the frame with its features. Raises VislocError."""
    search.read()  # a file that is no image loads no map
    request, name = search.request, maps.resolve(search.request.map_name)
    engine = maps.engine(name)
    prior = _prior_in_frame_of(engine.map_identity, request)
    hint = request.known.in_map(engine.map_identity)
    query = replace(extract(search, engine), hint=hint)
    try:
        result = engine.solve(query, prior)
    except MapError as error:
        if hint is None:
            raise
        raise ConfigError(str(error)) from error  # the map cannot use the hint
    return LocalizeAnswer.of(Anchor(result, engine.map_identity), name, request.with_inliers)


def _prior_in_frame_of(identity: MapIdentity, request: SearchRequest) -> SE3 | None:
    """The prior in the frame of a map, None where no transform to that is known: it only saves time.

    Raises ConfigError for a position or heading in another frame, by which poses are judged.
    """
    if not request.frame_uuid or identity.frame is None or request.frame_uuid == identity.frame.uuid:
        return request.prior
    if request.known.position is not None or request.known.heading_deg is not None:
        raise ConfigError("the map is in another frame now: give position and heading in the frame of its last answer")
    map_from_known = identity.frame.from_frame(CoordinateFrame(request.frame_uuid))
    return None if map_from_known is None or request.prior is None else map_from_known.apply_to_pose(request.prior)
