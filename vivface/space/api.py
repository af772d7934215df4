"""Named endpoints for programs, with plain inputs and outputs; the page itself uses none of them.

Their docstrings are what `/agents.md`, MCP clients and the page "Use via API" show.
"""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vivface.media import save_image
from vivface.provenance import Provenance, Stamp
from vivface.reenactment.codes import MOTION_SUFFIX, MotionCodes
from vivface.space.components import PAGE_MARK, ImageUpload, option_parameter
from vivface.space.options import Options, describe, option_fields, portrait_options
from vivface.space.previews import FaceDetections
from vivface.space.result_panel import WAITING_RUNS, user_errors
from vivface.space.service import ReenactmentService, new_visitor
from vivface.space.text import progress_words, report_words

ROOM = " " * 12


def takes_options(*names: str) -> Callable[[Callable], Callable]:
    """Give an endpoint `method(self, *files, *, options, visitor)` one parameter for each of the named options.

    The parameters' names, types, defaults and descriptions are those of `Options`; the line `{options}` of the
    docstring is where the descriptions go.
    """
    items = [option_fields()[name] for name in names]

    def decorate(method: Callable) -> Callable:
        own = inspect.signature(method)
        before = [own.parameters[name] for name in own.parameters if name not in ("options", "visitor")]
        count = len(before) - 1  # without self

        @wraps(method)
        def endpoint(self: "Endpoints", *values: Any) -> Iterator[tuple]:
            with user_errors():
                options = Options.of(dict(zip(names, values[count : count + len(names)], strict=True)))
                yield from method(self, *values[:count], options=options, visitor=values[-1])

        types = {item.name: item.metadata["kind"] for item in items}
        defaults = {item.name: None if types[item.name] is dict else item.default for item in items}
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        derived = [
            inspect.Parameter(name, kind, default=defaults[name], annotation=annotation)
            for name, annotation in {**types, "visitor": str}.items()
            if name in defaults
        ]
        visitor = inspect.Parameter("visitor", kind, default="", annotation=str)
        endpoint.__signature__ = own.replace(parameters=[*before, *derived, visitor])
        endpoint.__annotations__ = {
            **{item.name: item.annotation for item in before if item.name != "self"},
            **types,
            "visitor": str,
            "return": own.return_annotation,
        }
        lines = [f"{item.name}: {describe(item)}" for item in items]
        endpoint.__doc__ = method.__doc__.replace("{options}", f"\n{ROOM}".join(lines))
        return endpoint

    return decorate


class Endpoints:
    """Everything that programs can call; must be made inside a `gr.Blocks`.

    Args:
        service (`ReenactmentService`): Does the work.
        visitor (`gr.State`): Who calls: the same name in every call of a session.
    """

    def __init__(self, service: ReenactmentService, visitor: gr.State):
        self.service = service
        with gr.Row(visible=False):
            image, video, motion, comparison = gr.Image(), gr.Video(), gr.File(), gr.Video()
            portrait = ImageUpload(label="portrait")
            driving = gr.Video(label="driving", include_audio=True)
            motion_file = gr.File(label="motion_file", file_types=[MOTION_SUFFIX])
            co_driving = gr.File(label="co_driving", file_types=["video", MOTION_SUFFIX])
            consent = gr.Checkbox(False, label="consent")
            options = {name: option_parameter(name) for name in portrait_options()}
            suspect = gr.File(label="file", file_types=["image", "video"])
            listing, text, call = gr.JSON(), gr.Textbox(), gr.Button()

        def named(*names: str) -> list:
            return [options[name] for name in names]

        one_at_a_time = dict(concurrency_limit=WAITING_RUNS, concurrency_id="render")
        stills = dict(concurrency_limit=2, concurrency_id="still")
        files = [portrait, driving, motion_file, consent, co_driving]
        clip = named("driving_face", "start")
        for function, inputs, outputs, limits in (
            (self.reenact, [*files, *options.values()], [video, comparison, motion, text], one_at_a_time),
            (self.find_faces, [portrait, *named("face")], [image, listing], {}),
            (self.find_driving_faces, [driving, *clip], [image, listing], {}),
            (self.extract_motion, [driving, *clip, *named("duration")], [motion, text], one_at_a_time),
            (self.edit_portrait, [portrait, consent, *named("edits", "face", "refine")], [image], stills),
        ):
            name = function.__name__
            call.click(function, [*inputs, visitor], outputs, api_name=name, api_visibility="public", **limits)
        call.click(self.verify, [suspect], [listing], api_name="verify", api_visibility="public")
        call.click(self.list_edits, None, [listing], api_name="list_edits", api_visibility="public")

    @takes_options(*portrait_options())
    def reenact(
        self,
        portrait: str,
        driving: str | None = None,
        motion_file: str | None = None,
        consent: bool = False,
        co_driving: str | None = None,
        *,
        options: Options,
        visitor: str,
    ) -> Iterator[tuple]:
        """Make a portrait move and speak as a driving video does.

        Args:
            portrait: An image with a face.
            driving: A video with a face; its audio is kept.
            motion_file: A motion file of an earlier run (.safetensors), used instead of the video.
            consent: True if the person in the portrait agreed, or you have the right to use the image.
            co_driving: A second video with a face, or a motion file: the head follows it, mouth and eyes the first.
            {options}

        Returns:
            The video, the side by side video, the motion file, and a line with frames, seconds and frames per second.
        """
        admitted = self.service.admit(portrait, consent)
        visitor = visitor or new_visitor()
        for update in self.service.reenact(visitor, admitted, motion_file or driving, options, co_driving):
            if update.result is None:
                yield None, None, None, progress_words(update)
                continue
            paths = (update.result.video, update.result.comparison, update.result.motion)
            yield *(path and str(path) for path in paths), report_words(update.report)

    @takes_options("face")
    def find_faces(self, portrait: str, *, options: Options, visitor: str) -> Iterator[tuple]:
        """Find the faces of an image.

        Args:
            portrait: An image.
            {options}

        Returns:
            The image with its faces framed and numbered from 1, and for each face, the largest first, its box as left,
            top, right, bottom in pixels.
        """
        yield _told(self.service.detect_portrait(visitor or new_visitor(), portrait), options.face)

    @takes_options("driving_face", "start")
    def find_driving_faces(self, driving: str, *, options: Options, visitor: str) -> Iterator[tuple]:
        """Find the faces in the first frame of a video that shows any.

        Args:
            driving: A video.
            {options}

        Returns:
            The frame with its faces framed and numbered from 1, and for each face, the largest first, its box as left,
            top, right, bottom in pixels.
        """
        found = self.service.detect_driving(visitor or new_visitor(), driving, options.start)
        yield _told(found, options.driving_face)

    @takes_options("driving_face", "start", "duration")
    def extract_motion(self, driving: str, *, options: Options, visitor: str) -> Iterator[tuple]:
        """Save the motion of a video as a file, to use it with any portrait later.

        Args:
            driving: A video with a face.
            {options}

        Returns:
            The motion file, and a line with frames and seconds.
        """
        for update in self.service.extract_motion(visitor or new_visitor(), driving, options):
            if update.result is None:
                yield None, progress_words(update)
                continue
            motion = MotionCodes.load(update.result)
            yield str(update.result), f"{motion.frames} frames, {float(motion.seconds):.1f} seconds of motion."

    @takes_options("edits", "face", "refine")
    def edit_portrait(self, portrait: str, consent: bool = False, *, options: Options, visitor: str) -> Iterator[str]:
        """Change attributes, expression or pose of a portrait.

        Args:
            portrait: An image with a face.
            consent: True if the person in the portrait agreed, or you have the right to use the image.
            {options}

        Returns:
            The edited image.
        """
        admitted = self.service.admit(portrait, consent)
        image = self.service.edited_still(
            visitor or new_visitor(), admitted, options.face, options.edits, options.refine
        )
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            path = Path(folder) / "vivface.png"
            stamp = Stamp(Provenance(), PAGE_MARK)
            save_image(path, stamp.picture(image), stamp.finish)
            yield str(path)

    def verify(self, file: str) -> dict[str, Any]:
        """Look for signs that a trained model made a file: metadata, C2PA manifest, mark in the pictures.

        Args:
            file: An image or a video, made by vivface or not.

        Returns:
            The verdict ("synthetic", "disagreement" or "nothing"), the manifest, the mark with the chance of a false
            alarm, what contradicts what, and all of it in words.
        """
        with user_errors():
            found = self.service.verify(file).to_dict()
        del found["path"]  # Gradio takes a dict with a path for a file to be sent
        return found | {"file": Path(file).name}

    def list_edits(self) -> list[dict[str, Any]]:
        """List what can be edited.

        Returns:
            For each edit its name, a label, and the largest amount in either direction.
        """
        return [
            {"name": direction.name, "label": direction.label, "reach": direction.reach}
            for direction in self.service.directions.values()
        ]


def _told(found: FaceDetections, face: int) -> tuple[np.ndarray, list[list[float]]]:
    found.choose(face)
    return found.annotated(face), [[round(float(value), 1) for value in item.box] for item in found.faces]
