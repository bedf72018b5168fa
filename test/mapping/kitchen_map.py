"""Options and listeners for maps of a few images of a real kitchen."""

from visloc_ros.mapping import MappingConfig

NUM_IMAGES = 6
CONFIG = MappingConfig.from_mapping({"selection": {"min_motion": 0.0}, "reconstruction": {"threads": 1}, "workers": 2})


class Recorder:
    """Progress that remembers stages and steps, and can end the build at a stage."""

    def __init__(self, stop_at="", failure=None):
        self.stages, self.steps = [], {}
        self._stop_at, self._failure = stop_at, failure

    def stage(self, name, total):
        self.stages.append((name, total))
        self.steps[name] = 0

    def advance(self, steps=1):
        name = self.stages[-1][0]
        self.steps[name] += steps
        if name == self._stop_at and self.steps[name] == 2:
            raise self._failure


def contents(folder):
    """Every file of a folder, to tell whether any has changed."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
