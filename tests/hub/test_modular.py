"""Modular blocks: the same frames as the pipeline's, from files beside the weights or in a folder of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from vivface import CheckpointError, OptionError, VivFacePipeline
from vivface.hub.modular import modular_files
from vivface.media.video import VideoReader
from vivface.pipelines.blocks import SETTINGS, VivFaceBlocks

PORTRAIT, CLIP = REPOSITORY / "examples" / "portrait.png", REPOSITORY / "examples" / "driving.mp4"
RUN = """
import sys
from diffusers.commands.diffusers_cli import main

sys.argv = ["diffusers-cli", "run", *sys.argv[1:]]
main()
"""


def write(folder: Path, checkpoint: Path, weights: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in modular_files(checkpoint, weights).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def pipeline():
    from diffusers import ComponentsManager  # noqa: F401  (the modular part of diffusers is there)

    bundled = VivFacePipeline.from_pretrained()
    pipeline = VivFaceBlocks().init_pipeline()
    settings = {name: bundled.config[name] for name in SETTINGS}
    pipeline.update_components(**bundled.components, **settings)
    return pipeline


def test_frames_of_a_list_of_pictures(pipeline):
    with VideoReader(CLIP, duration=0.4) as video:
        pictures, rate = [Image.fromarray(frame.image) for frame in video], float(video.fps)
    (frames,) = pipeline(image=Image.open(PORTRAIT), video=pictures, fps=rate, size=96, output="videos")
    ours = VivFacePipeline.from_pretrained()(PORTRAIT, CLIP, duration=0.4, size=96)
    expected = list(ours)
    assert len(frames) == len(expected) == len(pictures)
    for frame, image in zip(frames, expected, strict=True):
        assert np.abs(np.asarray(frame).astype(int) - image).mean() < 2.5  # the mark, and the film between


def test_bad_frames(pipeline):
    with pytest.raises(OptionError, match="holds no frames"):
        pipeline(image=Image.open(PORTRAIT), video=[])
    with pytest.raises(OptionError, match="Frame 1 of `video`"):
        pipeline(image=Image.open(PORTRAIT), video=[Image.new("RGB", (64, 64)), Image.new("RGB", (96, 64))])


def test_networks_that_are_not_loaded():
    with pytest.raises(OptionError, match="load_components"):
        VivFaceBlocks().init_pipeline()(image=Image.open(PORTRAIT), video=str(CLIP))


def test_run_by_the_program_of_diffusers(tiny_checkpoint, tmp_path):
    """In a folder of its own, which points to the weights; in a process of its own, which imports its code."""
    folder = write(tmp_path / "blocks", tiny_checkpoint, str(tiny_checkpoint))
    inputs = {"image": str(PORTRAIT), "video": str(CLIP), "detail": False}
    command = ["--model", folder, "--trust-remote-code", "--device-map", "cpu", "--output-key", "videos"]
    command += ["-o", tmp_path / "out.mp4", "--pipeline-kwargs", json.dumps(inputs)]
    environment = {"PYTHONPATH": str(REPOSITORY), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    frames = sorted((tmp_path / "out-frames").glob("*.png"))
    with VideoReader(CLIP) as video:
        assert len(frames) == sum(1 for _ in video)


def test_only_the_main_system_has_blocks(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "HybridLatentPipeline"}))
    with pytest.raises(CheckpointError):
        modular_files(tmp_path)
