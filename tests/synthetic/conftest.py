"""The parsed assets, a few heads, and a renderer: made once for all tests of this folder."""

import os
from pathlib import Path

import pytest

from vivface.errors import BackendError

SEEDS = (900_117, 900_164, 900_118)  # a woman, a man, an older woman with full hair


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parsed assets are kept: of VIVFACE_CACHE, so that they are parsed once, or of this session."""
    return Path(os.environ.get("VIVFACE_CACHE") or tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def kit(assets_dir: Path, cache_dir: Path):
    """The parsed assets."""
    from training.synthetic.assets import load_kit

    return load_kit(assets_dir, cache_dir)


@pytest.fixture(scope="session")
def heads(kit) -> list:
    """Geometry of three people."""
    from training.synthetic.geometry import build_head
    from training.synthetic.person import sample_person

    return [build_head(kit, sample_person(kit, seed)) for seed in SEEDS]


@pytest.fixture(scope="session")
def opengl() -> None:
    """Skips where nothing can be rendered."""
    from training.synthetic.renderer import open_context

    try:
        open_context().release()
    except BackendError as error:
        pytest.skip(str(error))
