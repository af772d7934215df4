"""What drives a run: a video or a motion file, and which of its faces."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from vivface.reenactment.codes import MOTION_SUFFIX
from vivface.space.face_picker import FacePicker
from vivface.space.options import check_value
from vivface.space.previews import FaceDetections
from vivface.space.service import ReenactmentService


class DriverInput:
    """Uploads of a driving video or motion file; must be made inside a `gr.Blocks`.

    Args:
        service (`ReenactmentService`): Finds faces.
        examples (list of `Path`): Example videos.
        name (`str`, *optional*): Start of the components' ids.

    Attributes:
        video (`gr.Video`), motion_file (`gr.File`), face (`gr.Number`): What was chosen.
    """

    def __init__(self, service: ReenactmentService, examples: list[Path], name: str = ""):
        self._service = service
        prefix = f"{name}-" if name else ""
        with gr.Tabs(elem_classes="inner"):
            with gr.Tab("Driving video"):
                self.video = gr.Video(
                    label="Motion and voice",
                    sources=["upload", "webcam"],
                    include_audio=True,
                    elem_id=f"{prefix}driving",
                    elem_classes="driving",
                )
            with gr.Tab("Motion file"):
                self.motion_file = gr.File(
                    label="Motion saved from an earlier video; it is used instead of the video",
                    file_types=[MOTION_SUFFIX],
                    height=140,
                    elem_id=f"{prefix}motion-file",
                )
        self._faces = FacePicker(
            f"{prefix}driving",
            "driving_face",
            self._detect,
            alt_text="A frame of the driving video with a numbered frame around every face",
            crop_alt_text="The chosen face of the driving video, aligned",
            height=180,
        )
        self.face = self._faces.face
        if examples:
            gr.Examples(
                [[str(path)] for path in examples],
                self.video,
                label="Example videos",
                elem_id=f"{prefix}example-clips",
                api_visibility="private",
            )

    def connect(self, visitor: gr.State, start: gr.Number) -> None:
        """Look for faces whenever the driver or its start changes."""
        inputs = [self.video, self.motion_file, start]
        self._faces.connect([item.change for item in inputs], visitor, inputs)

    def _detect(
        self, visitor: str, video: str | None, motion_file: str | None, start: float | None
    ) -> FaceDetections | str | None:
        if motion_file is not None:
            motion = self._service.limits.open_motion_file(motion_file)
            return f"Motion of {motion.frames} frames, {float(motion.seconds or 0):.1f} seconds."
        if video is None:
            return None
        return self._service.detect_driving(visitor, video, check_value("start", start))
