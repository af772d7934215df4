"""ViVFace as diffusers' modular blocks: read the portrait, read the motion, render.

    pipe = ModularPipeline.from_pretrained("OWNER/NAME", trust_remote_code=True)
    pipe.load_components()
    (frames,) = pipe(image=load_image("portrait.png"), video="clip.mp4", output="videos")

Inputs have the names that diffusers' own programs fill from files, `image` and `video`. For a film with sound and a
signed manifest take `VivFacePipeline`, whose result saves itself.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import PIL.Image
from diffusers.modular_pipelines import ModularPipelineBlocks, SequentialPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline_utils import ComponentSpec, ConfigSpec, InputParam, OutputParam

from vivface.errors import OptionError
from vivface.media.images import load_image
from vivface.media.writer import VideoWriter
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.warping.background import KEEP

FPS = 25  # of frames that come without their rate
SETTINGS = {"image_size": 256, "crop": "ffhq", "neutral": "zero", "adapt_steps": 0, "detail": False}


class VivFaceBlock(ModularPipelineBlocks):
    """A step of ViVFace with the checkpoint's networks."""

    model_name = "vivface"

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """The networks of a checkpoint."""
        return [ComponentSpec(name, kind) for name, kind in VivFacePipeline.COMPONENTS.items()]

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        """The settings of a checkpoint."""
        return [ConfigSpec(name, default) for name, default in SETTINGS.items()]

    def run(self, pipeline: VivFacePipeline, block) -> None:
        """Set the outputs of `block` from its inputs."""
        raise NotImplementedError

    def __call__(self, components, state):
        block = self.get_block_state(state)
        self.run(_pipeline_of(components), block)
        self.set_block_state(state, block)
        return components, state


def _pipeline_of(components) -> VivFacePipeline:
    """The pipeline of the networks and settings that a modular pipeline holds."""
    networks = {name: getattr(components, name, None) for name in VivFacePipeline.COMPONENTS}
    missing = [n for n in networks if networks[n] is None and n not in VivFacePipeline._optional_components]
    if missing:
        raise OptionError(f"The networks {', '.join(missing)} are not loaded: call load_components() first.")
    pipeline = VivFacePipeline(**networks, **{name: components.config[name] for name in SETTINGS})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class EncodeIdentityBlock(VivFaceBlock):
    """The portrait, once: align the face, read its identity code (paper, sec. 3.2)."""

    @property
    def description(self) -> str:
        """What the block does, for documentation."""
        return "Finds the face of the portrait and reads everything that its re-enactment keeps."

    @property
    def inputs(self) -> list[InputParam]:
        """What the block takes."""
        return [
            InputParam("image", PIL.Image.Image, required=True, description="The portrait."),
            InputParam("face", int, description="Which face of the portrait, 0 the largest."),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the block makes."""
        return [OutputParam("identity", IdentityCode, "The portrait, read.")]

    def run(self, pipeline: VivFacePipeline, block) -> None:
        """Read the portrait."""
        adapt = 0 if pipeline.offers_detail else None
        block.identity = pipeline.encode_identity(block.image, block.face, adapt)


class EncodeMotionBlock(VivFaceBlock):
    """The driving video: motion codes, read when frames are rendered."""

    @property
    def description(self) -> str:
        """What the block does, for documentation."""
        return "Opens the driving video as a stream of motion codes."

    @property
    def inputs(self) -> list[InputParam]:
        """What the block takes."""
        return [
            InputParam("video", required=True, description="The driving video: a file, or its frames (PIL images)."),
            InputParam("fps", float, FPS, description="Frames a second, where frames are given."),
            InputParam("driving_face", int, description="Which face of the video, 0 the largest of its first frame."),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the block makes."""
        return [OutputParam("motion", MotionCodes, "The motion of the driving video.")]

    def run(self, pipeline: VivFacePipeline, block) -> None:
        """Open the video."""
        if isinstance(block.video, str | os.PathLike):
            block.motion = pipeline.encode_motion(block.video, block.driving_face)
            return
        folder = TemporaryDirectory()
        film = _write_frames(Path(folder.name) / "driving.mkv", block.video, block.fps)
        block.motion = pipeline.encode_motion(film, block.driving_face)
        weakref.finalize(block.motion, folder.cleanup)


def _write_frames(path: Path, frames: Sequence, fps: float) -> Path:
    """Frames as a film without loss.

    Raises:
        OptionError: If there are none, or one has another size than the first.
    """
    if not isinstance(frames, Sequence | np.ndarray) or len(frames) == 0:
        raise OptionError("`video` holds no frames; expected a file or a list of images.")
    first = load_image(frames[0])
    with VideoWriter(path, first.shape[1::-1], Fraction(fps).limit_denominator(1001), quality=100) as writer:
        for number, frame in enumerate(frames):
            image = load_image(frame)
            if image.shape != first.shape:
                raise OptionError(
                    f"Frame {number} of `video` is {image.shape[1]} x {image.shape[0]} pixels, the first "
                    f"{first.shape[1]} x {first.shape[0]}: give frames of one size."
                )
            writer.write(image)
    return path


class RenderBlock(VivFaceBlock):
    """Frames: the portrait under the motion, each with the imperceptible mark."""

    @property
    def description(self) -> str:
        """What the block does, for documentation."""
        return "Shows the portrait under the motion of the driving video, frame by frame."

    @property
    def inputs(self) -> list[InputParam]:
        """What the block takes; see `VivFacePipeline.render`."""
        return [
            InputParam("identity", IdentityCode, required=True, description="The portrait, read."),
            InputParam("motion", MotionCodes, required=True, description="The motion of the driving video."),
            InputParam("detail", bool, description="Move the photograph itself; by default as the checkpoint says."),
            InputParam("size", int, description="Width and height in pixels; by default as the face is in the photo."),
            InputParam("background", default=KEEP, description="keep, a colour, or a picture."),
            InputParam("paste_back", bool, False, description="Put the face back into the whole photo."),
            InputParam("motion_mode", str, "absolute", description="absolute, or relative: changes only."),
            InputParam("strength", float, 1.0, description="How much of the motion, 0 to 3."),
        ]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """What the block makes."""
        return [OutputParam("videos", list[list[PIL.Image.Image]], "One video: its frames.")]

    def run(self, pipeline: VivFacePipeline, block) -> None:
        """Render all frames."""
        names = ("detail", "size", "background", "paste_back", "motion_mode", "strength")
        result = pipeline(block.identity, block.motion, **{name: getattr(block, name) for name in names})
        stamp = result.stamp()
        block.videos = [[PIL.Image.fromarray(stamp.picture(frame)) for frame in result]]


class VivFaceBlocks(SequentialPipelineBlocks):
    """ViVFace as a sequence of blocks."""

    model_name = "vivface"
    block_classes = [EncodeIdentityBlock, EncodeMotionBlock, RenderBlock]
    block_names = ["encode_identity", "encode_motion", "render"]

    @property
    def description(self) -> str:
        """What the blocks do, for documentation."""
        return "Re-enacts a portrait (`image`) with the motion of a video (`video`)."
