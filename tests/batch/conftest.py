"""A small batch: two portraits, one of them no portrait, and three clips of different lengths."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import portrait, write_face_clip
from vivface.batch.clips import Clip, pair_folders
from vivface.batch.maker import BatchSettings
from vivface.media import save_image

FRAMES = {"five": 5, "six": 6, "seven": 7}


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Portraits `a`, `b` and `blank`; videos `five`, `six`, `seven`, named after their frames."""
    portraits, videos = tmp_path_factory.mktemp("portraits"), tmp_path_factory.mktemp("videos")
    for name in ("a", "b"):
        save_image(portraits / f"{name}.png", portrait())
    save_image(portraits / "blank.png", np.zeros((64, 64, 3), np.uint8))
    for name, frames in FRAMES.items():
        write_face_clip(videos / f"{name}.mp4", frames)
    return portraits, videos


@pytest.fixture
def clips(folders) -> list[Clip]:
    return pair_folders(*folders)


@pytest.fixture
def settings(tiny_checkpoint) -> BatchSettings:
    return BatchSettings(checkpoint=str(tiny_checkpoint), device="cpu")
