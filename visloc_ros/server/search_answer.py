"""One search from its request to its answer, in whichever process it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.types import Anchor
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.server.answers import LocalizeAnswer
from visloc_ros.server.device_queue import Search
from visloc_ros.server.resident_maps import ResidentMaps

Extract = Callable[[Search, AnchorEngine], Query]


def answer_search(maps: ResidentMaps, search: Search, extract: Extract) -> LocalizeAnswer:
    """The answer to a search; ``extract`` gives the frame with its features. Raises VislocError."""
    search.read()  # a file that is no image loads no map
    request, name = search.request, maps.resolve(search.request.map_name)
    engine = maps.engine(name)
    hint = request.known.in_map(engine.map_identity)
    query = replace(extract(search, engine), hint=hint)
    try:
        result = engine.solve(query, request.prior)
    except MapError as error:
        if hint is None:
            raise
        raise ConfigError(str(error)) from error  # the map cannot use the hint
    return LocalizeAnswer.of(Anchor(result, engine.map_identity), name, request.with_inliers)
