"""The nodes, in ComfyUI's V3 schema (`comfy_api.latest`). vivface has to be installed in ComfyUI's Python."""

from __future__ import annotations

import io as bytes_io
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from comfy_api.latest import ComfyAPISync, ComfyExtension, InputImpl, io

CATEGORY = "vivface"
NO_MOTION = "(driving video)"


def portrait_of(images) -> np.ndarray:
    """The first picture of an IMAGE `(batch, height, width, 3 or 4)` in [0, 1], as uint8 RGB."""
    return (images[0, :, :, :3].cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)


def file_of(video, folder: Path) -> Path:
    """A VIDEO as a file: its own, or a copy in `folder` if it is in memory or trimmed."""
    source = video.get_stream_source()
    if isinstance(source, str | os.PathLike) and not any(video.get_active_trim_window()):
        return Path(source)
    path = folder / "driving.mp4"
    if isinstance(source, bytes_io.BytesIO) and not any(video.get_active_trim_window()):
        path.write_bytes(source.getvalue())
    else:
        video.save_to(str(path))
    return path


def new_folder() -> Path:
    """A folder for the files of one run, in ComfyUI's temporary folder, which it empties itself."""
    import folder_paths

    place = folder_paths.get_temp_directory()
    os.makedirs(place, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="vivface-", dir=place))


@lru_cache(maxsize=1)
def pipeline_of(checkpoint: str):
    """The pipeline of a checkpoint, on the device that suits best; the last one is kept."""
    from vivface import load_pipeline
    from vivface.runtime import choose_device

    pipeline = load_pipeline(checkpoint or None).to(choose_device("auto"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class VivfaceReenact(io.ComfyNode):
    """A portrait moves as the face of a video does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        from vivface.reenactment.motion_library import list_motions

        return io.Schema(
            node_id="VivfaceReenact",
            display_name="Re-enact portrait (vivface)",
            category=CATEGORY,
            description="One portrait moves, speaks and looks as the face of a video does. Sound and timing are kept.",
            inputs=[
                io.Image.Input("portrait", tooltip="An image with a face; the first of a batch."),
                io.Video.Input("driving", optional=True, tooltip="A video with a face."),
                io.Combo.Input(
                    "motion",
                    options=[NO_MOTION, *list_motions()],
                    default=NO_MOTION,
                    tooltip="A motion of the library, used instead of a video.",
                ),
                io.Boolean.Input("paste_back", default=False, tooltip="Put the face back into the whole image."),
                io.Combo.Input("motion_mode", options=["absolute", "relative"], default="absolute"),
                io.Float.Input("strength", default=1.0, min=0.0, max=3.0, step=0.05),
                io.Int.Input("face", default=0, min=0, max=50, tooltip="Which face of the portrait, 0 the largest."),
                io.Boolean.Input("refine", default=True, tooltip="A second pass for fine detail."),
                io.String.Input("checkpoint", default="", tooltip="Folder or Hub id; empty for the bundled one."),
                io.Boolean.Input("label", default=False, tooltip='Write "AI-generated" visibly into a corner.'),
            ],
            outputs=[io.Video.Output(display_name="video"), io.String.Output(display_name="report")],
        )

    @classmethod
    def execute(
        cls,
        portrait,
        driving=None,
        motion: str = NO_MOTION,
        paste_back: bool = False,
        motion_mode: str = "absolute",
        strength: float = 1.0,
        face: int = 0,
        refine: bool = True,
        checkpoint: str = "",
        label: bool = False,
    ) -> io.NodeOutput:
        from vivface.errors import OptionError
        from vivface.provenance import Provenance

        if driving is None and motion == NO_MOTION:
            raise OptionError("Nothing drives the portrait: connect a video, or choose a motion.")
        folder, api = new_folder(), ComfyAPISync()

        def show(progress) -> None:
            if progress.total:
                api.execution.set_progress(min(progress.done, progress.total), progress.total)

        result = pipeline_of(checkpoint)(
            portrait_of(portrait),
            motion if motion != NO_MOTION else file_of(driving, folder),
            face=face or None,
            refine=refine,
            paste_back=paste_back,
            motion_mode=motion_mode,
            strength=strength,
            on_progress=show,
        )
        path = folder / "vivface.mp4"
        result.save(path, provenance=Provenance(label=label), on_progress=show)
        report = result.report
        lines = [f"{report.frames} frames, {report.fps:.1f} frames per second", *report.warnings]
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), "\n".join(lines))


class VivfaceVerify(io.ComfyNode):
    """What a video says about where it comes from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VivfaceVerify",
            display_name="Verify (vivface)",
            category=CATEGORY,
            description="What a video says about where it comes from: metadata, C2PA manifest, mark in the pictures.",
            inputs=[io.Video.Input("video")],
            outputs=[io.String.Output(display_name="verdict"), io.String.Output(display_name="report")],
        )

    @classmethod
    def execute(cls, video) -> io.NodeOutput:
        from vivface.provenance import verify

        found = verify(file_of(video, new_folder()))
        return io.NodeOutput(found.verdict, "\n".join(found.lines()))


class VivfaceExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes of this folder."""
        return [VivfaceReenact, VivfaceVerify]


async def comfy_entrypoint() -> VivfaceExtension:
    """Called by ComfyUI when it starts."""
    return VivfaceExtension()
