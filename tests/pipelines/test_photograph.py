"""Photographs that move without a checkpoint's networks: the same frames, sooner."""

import subprocess
import sys

import numpy as np
import pytest

from vivface import CheckpointError, NoFaceError, OptionError
from vivface.pipelines.photograph import PhotographPipeline

LIGHT = """
import sys
from vivface.pipelines.photograph import PhotographPipeline
pipe = PhotographPipeline.for_checkpoint(detail=True)
heavy = {"diffusers", "transformers", "vivface.models", "huggingface_hub", "scipy", "c2pa", "moviepy"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def photograph(tiny_checkpoint) -> PhotographPipeline:
    return PhotographPipeline.for_checkpoint(tiny_checkpoint, detail=True)


def test_nothing_heavy_is_imported():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_frames_are_those_of_the_checkpoints_own_pipeline(photograph, tiny_pipeline, portrait, face_clip):
    options = dict(size=128, duration=0.2, strength=0.9, driving_face=0)
    own = tiny_pipeline(portrait, face_clip, detail=True, **options)
    result = photograph(portrait, face_clip, **options)
    for made, expected in zip(result, own, strict=True):
        assert np.array_equal(made, expected)
    assert result.stamp().identifier == own.stamp().identifier  # the mark is the same, too
    assert result.report.frames == own.report.frames == 5


def test_in_the_whole_photo(photograph, portrait, face_clip):
    frame = next(iter(photograph(portrait, face_clip, paste_back=True, duration=0.1)))
    assert frame.shape == photograph.read_photo(portrait).photo.shape


def test_checkpoints_that_show_their_own_images_need_their_networks(tiny_checkpoint):
    assert PhotographPipeline.for_checkpoint(tiny_checkpoint) is None
    assert PhotographPipeline.for_checkpoint(detail=False) is None
    assert PhotographPipeline.for_checkpoint() is not None  # the bundled one says so


def test_other_systems_need_their_networks(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "HyperReenactPipeline"}')
    assert PhotographPipeline.for_checkpoint(tmp_path, detail=True) is None


def test_what_is_wrong_is_said(photograph, face_clip, tmp_path, portrait):
    with pytest.raises(CheckpointError, match="nowhere"):
        PhotographPipeline.for_checkpoint(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="engine"):
        PhotographPipeline.for_checkpoint(detail=True, engine="abacus")
    with pytest.raises(OptionError, match="size"):
        photograph(portrait, face_clip, size=63)
    from vivface.media import save_image

    save_image(tmp_path / "blank.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(NoFaceError):
        photograph(tmp_path / "blank.png", face_clip)
