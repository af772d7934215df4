"""The page: a portrait and a driving video in, a speaking portrait out.

    python app.py

`VIVFACE_CHECKPOINT` names another checkpoint than the bundled one (a folder or a Hub id). What the page does is in
`vivface.space`; here is how it looks and what its endpoints are called.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
import numpy as np
from starlette.middleware import Middleware

from vivface import VivFaceError, VivFacePipeline, __version__
from vivface.editing import AttributeDirections
from vivface.hub.loading import bundled_checkpoint
from vivface.media import save_image
from vivface.reenactment.codes import MOTION_SUFFIX
from vivface.space.components import picture_input, rendered_picture
from vivface.space.jobs import Cancelled
from vivface.space.limits import MEGA, Limits
from vivface.space.page import ABOUT, CSS, INTRO, JS, LIVE_HINT, error_line, note_line, progress_line, stats_line, theme
from vivface.space.studio import Options, Studio, Update
from vivface.space.uploads import BodyLimit
from vivface.space.zerogpu import gpu_seconds, with_gpu

EXAMPLES = Path(__file__).parent / "examples"
SIZES = [("As it is made", 0), ("256 pixels high", 256), ("512 pixels high", 512), ("720 pixels high", 720)]
CONSENT_NEEDED = (
    "Please confirm below the portrait that the person agreed to this, or that you have the right to use the picture."
)
NO_PORTRAIT = "Choose a portrait first: a picture with a face."
NO_DRIVING = "Choose a driving video first: a clip with a face, or a saved motion file."
OPTIONS = (
    "face", "driving_face", "adapt", "refine", "paste_back", "relative", "strength", "smoothing", "start", "length",
    "height", "compare", "edits",
)  # fmt: skip
STREAM_SECONDS = 300  # a live stream ends after this, so that others get their turn


def create_demo(
    checkpoint: str | os.PathLike | None = None,
    limits: Limits | None = None,
    examples: Path = EXAMPLES,
    file_seconds: int = 3600,
) -> gr.Blocks:
    """Build the page.

    Args:
        checkpoint (*optional*): folder or Hub id; by default `VIVFACE_CHECKPOINT`, else the bundled checkpoint.
        limits (`Limits`, *optional*): of uploads.
        examples (`Path`, *optional*): folder of example portraits and clips.
        file_seconds (`int`, *optional*, defaults to 3600): how long uploads and results are kept.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
    """
    checkpoint = checkpoint or os.environ.get("VIVFACE_CHECKPOINT") or bundled_checkpoint()
    pipeline = VivFacePipeline.from_pretrained(checkpoint)
    if pipeline_device() != "cpu":
        pipeline.to(pipeline_device())
    portraits = sorted(path for suffix in ("png", "jpg", "webp") for path in examples.glob(f"*.{suffix}"))
    clips = sorted(examples.glob("*.mp4"))
    studio = Studio(pipeline, AttributeDirections.of_checkpoint(checkpoint), limits, [*portraits, *clips])
    every = max(1, min(file_seconds, 300))
    with gr.Blocks(title="vivface", analytics_enabled=False, delete_cache=(every, file_seconds)) as demo:
        Page(studio, portraits, clips).build()
    demo.queue(max_size=64, default_concurrency_limit=4)
    demo.studio = studio
    return demo


def launch_options(limits: Limits | None = None) -> dict:
    """What `demo.launch` needs besides the page itself: its look and the limits of uploads."""
    limits = limits or Limits()
    largest, folder = limits.upload_bytes, Path(gr.utils.get_upload_folder())
    return dict(
        theme=theme(),
        css=CSS,
        js=JS,
        max_file_size=largest,
        app_kwargs={"middleware": [Middleware(BodyLimit, upload_bytes=largest + MEGA, folder=folder)]},
        footer_links=["api"],
        mcp_server=find_spec("mcp") is not None,
    )


def pipeline_device() -> str:
    """The fastest device of this machine."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Page:
    """Components and what they do; `build` is called once, inside a `gr.Blocks`."""

    def __init__(self, studio: Studio, portraits: list[Path], clips: list[Path]):
        self.studio = studio
        self.portraits = portraits
        self.clips = clips
        self._render = with_gpu(self._render_clip, self._gpu_seconds)
        self._still = with_gpu(self._edited_still, 20)

    # ---- layout

    def build(self) -> None:
        gr.HTML(INTRO)
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=2, min_width=320):
                self._portrait_panel()
            with gr.Column(scale=5, min_width=320):
                with gr.Tabs():
                    with gr.Tab("Re-enact", id="reenact"):
                        self._reenact_tab()
                    with gr.Tab("Edit", id="edit"):
                        self._edit_tab()
                    with gr.Tab("Live", id="live"):
                        self._live_tab()
                    with gr.Tab("About", id="about"):
                        gr.Markdown(ABOUT.format(version=__version__, **self._about_values()), elem_classes="about")
        self._connect()
        self._endpoints()

    def _portrait_panel(self) -> None:
        self.portrait = picture_input(
            label="Portrait",
            sources=["upload", "webcam", "clipboard"],
            height=300,
            elem_id="portrait",
            alt_text="The portrait you chose",
            placeholder="# Drop a picture with a face\nor tap to choose one",
        )
        self.portrait_note = gr.HTML(elem_id="portrait-note", elem_classes="note")
        with gr.Row(visible=False, elem_classes="seen", elem_id="portrait-seen") as self.portrait_seen:
            self.portrait_faces = rendered_picture(
                label="Faces found",
                show_label=False,
                elem_id="portrait-faces",
                alt_text="The portrait with a numbered frame around every face",
                height=200,
            )
            self.portrait_crop = rendered_picture(
                label="What the program sees",
                show_label=False,
                elem_id="portrait-crop",
                alt_text="The chosen face, aligned",
                height=200,
            )
        self.face_choice = gr.Radio(["1"], value="1", label="Which face", visible=False, elem_id="face-choice")
        self.face = gr.Number(1, precision=0, visible=False, label="Face, 1 the largest")
        self.consent = gr.Checkbox(
            False,
            label="The person in my picture agreed to this, or I have the right to use it",
            info="Not needed for the examples.",
            elem_id="consent",
        )
        if self.portraits:
            gr.Examples(
                [[str(path)] for path in self.portraits],
                self.portrait,
                label="Example portraits",
                elem_id="example-portraits",
                api_visibility="private",
            )

    def _reenact_tab(self) -> None:
        with gr.Row():
            with gr.Column(min_width=280):
                with gr.Tabs(elem_classes="inner"):
                    with gr.Tab("Driving video"):
                        self.driving = gr.Video(
                            label="Motion and voice",
                            sources=["upload", "webcam"],
                            include_audio=True,
                            elem_id="driving",
                        )
                    with gr.Tab("Motion file"):
                        self.motion_file = gr.File(
                            label="Motion saved from an earlier video; it is used instead of the video",
                            file_types=[MOTION_SUFFIX],
                            height=140,
                            elem_id="motion-file",
                        )
                self.driving_note = gr.HTML(elem_id="driving-note", elem_classes="note")
                with gr.Row(visible=False, elem_classes="seen", elem_id="driving-seen") as self.driving_seen:
                    self.driving_faces = rendered_picture(
                        label="Faces found",
                        show_label=False,
                        elem_id="driving-faces",
                        alt_text="A frame of the driving video with a numbered frame around every face",
                        height=180,
                    )
                    self.driving_crop = rendered_picture(
                        label="What the program sees",
                        show_label=False,
                        elem_id="driving-crop",
                        alt_text="The chosen face of the driving video, aligned",
                        height=180,
                    )
                self.driving_choice = gr.Radio(["1"], value="1", label="Which face", visible=False)
                self.driving_face = gr.Number(1, precision=0, visible=False, label="Face of the video, 1 the largest")
                if self.clips:
                    gr.Examples(
                        [[str(path)] for path in self.clips],
                        self.driving,
                        label="Example clips",
                        elem_id="example-clips",
                        api_visibility="private",
                    )
                self._options()
                with gr.Row():
                    self.run = gr.Button("Re-enact", variant="primary", elem_id="run", scale=2)
                    self.stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", scale=1)
            with gr.Column(min_width=280):
                self.status = gr.HTML(note_line("The result appears here."), elem_id="status", elem_classes="note")
                self.preview = gr.Image(
                    label="First frames, while the rest is made",
                    interactive=False,
                    visible=False,
                    buttons=[],
                    elem_id="preview",
                    alt_text="The first frames of the result",
                    height=260,
                )
                self.video = gr.Video(
                    label="Result", interactive=False, elem_id="result", height=380, buttons=["download"]
                )
                self.comparison = gr.Video(
                    label="Side by side: portrait, driving video, result",
                    interactive=False,
                    visible=False,
                    elem_id="comparison",
                    buttons=["download"],
                )
                with gr.Row():
                    self.download = gr.DownloadButton("Download video", visible=False, size="md", elem_id="download")
                    self.keep_motion = gr.DownloadButton(
                        "Download motion file", visible=False, size="md", elem_id="keep-motion"
                    )

    def _options(self) -> None:
        self.paste_back = gr.Checkbox(False, label="Put the face back into the whole photo", elem_id="paste-back")
        self.compare = gr.Checkbox(False, label="Also show everything side by side", elem_id="compare")
        with gr.Accordion("More options", open=False, elem_id="more-options"):
            self.refine = gr.Checkbox(
                True,
                label="Bring back fine detail of the portrait",
                info="A second pass; a little slower.",
                visible=self.studio.pipeline.refinement is not None,
            )
            self.adapt = gr.Checkbox(
                True,
                label="Learn this portrait first",
                info="Closer likeness, once for each portrait.",
                visible=self.studio.pipeline.config.adapt_steps > 0,
            )
            self.relative = gr.Radio(
                [("Pose and expression of the driver", False), ("Only the driver's movements", True)],
                value=False,
                label="What is taken over",
                info="Movements alone keep the portrait's own pose as the starting point.",
            )
            self.strength = gr.Slider(
                0, 2, 1, step=0.05, label="How strong the motion is", info="1 is the driver's own."
            )
            self.smoothing = gr.Slider(
                0, 0.5, 0, step=0.01, label="Smoothing, in seconds", info="Calms trembling; too much slurs speech."
            )
            with gr.Row():
                self.start = gr.Number(0, minimum=0, label="Start at second", elem_id="start", min_width=120)
                self.length = gr.Number(
                    0, minimum=0, label="Length in seconds", info="0: to the end", elem_id="length", min_width=120
                )
            self.height = gr.Dropdown(SIZES, value=0, label="Size of the video")

    def _edit_tab(self) -> None:
        self.edits = gr.JSON({}, visible=False, label="Edits: amounts by name")
        self.sliders: dict[str, gr.Slider] = {}
        if not self.studio.directions:
            gr.HTML(note_line("This checkpoint carries no directions to edit along."))
            return
        gr.HTML(note_line("Change the portrait here: the edits hold for the whole video and for the live picture."))
        with gr.Row():
            with gr.Column(min_width=260):
                self.still = rendered_picture(
                    label="Edited portrait", elem_id="still", alt_text="The portrait with your edits", height=360
                )
                self.still_note = gr.HTML(elem_id="still-note", elem_classes="note")
                self.reset = gr.Button("Undo all edits", size="md", elem_id="reset-edits")
            with gr.Column(min_width=260):
                for space, title in (("motion", "Expression and pose"), ("w_plus", "Person and picture")):
                    if not (group := self.studio.directions.of(space)):
                        continue
                    with gr.Accordion(title, open=True):
                        for direction in group:
                            reach = round(direction.reach, 2)
                            self.sliders[direction.name] = gr.Slider(
                                -reach,
                                reach,
                                0,
                                step=reach / 20,
                                label=direction.label,
                                elem_id=f"edit-{direction.name}",
                            )

    def _live_tab(self) -> None:
        gr.HTML(note_line(LIVE_HINT))
        with gr.Row():
            self.camera = gr.Image(
                label="Your camera",
                sources=["webcam"],
                streaming=True,
                type="numpy",
                elem_id="camera",
                alt_text="Your camera's picture",
                height=320,
                webcam_options=gr.WebcamOptions(constraints={"video": {"width": 480, "height": 360}}),
            )
            self.mirror = rendered_picture(
                label="Portrait", elem_id="mirror", alt_text="The portrait, moving as you do", height=320
            )
        self.rate = gr.HTML(elem_id="rate", elem_classes="note")
        self.live_relative = gr.Checkbox(
            False, label="Only my movements, starting from the portrait's own pose", elem_id="live-relative"
        )

    # ---- events of the page

    def _connect(self) -> None:
        private = dict(api_visibility="private", show_progress="minimal")
        portrait_outputs = [
            self.portrait_note, self.portrait_seen, self.portrait_faces, self.portrait_crop, self.face_choice,
            self.face,
        ]  # fmt: skip
        self.portrait.change(self._show_portrait, [self.portrait], portrait_outputs, **private)
        self.portrait_faces.select(
            self._tap_portrait, [self.portrait], [self.face_choice], api_visibility="private", show_progress="hidden"
        )
        chosen = self.face_choice.change(
            self._choose_portrait_face,
            [self.portrait, self.face_choice],
            [self.portrait_faces, self.portrait_crop, self.face],
            **private,
        )

        driving_outputs = [
            self.driving_note, self.driving_seen, self.driving_faces, self.driving_crop, self.driving_choice,
            self.driving_face,
        ]  # fmt: skip
        gr.on(
            [self.driving.change, self.motion_file.change, self.start.change],
            self._show_driving,
            [self.driving, self.motion_file, self.start],
            driving_outputs,
            trigger_mode="always_last",
            **private,
        )
        self.driving_faces.select(
            self._tap_driving,
            [self.driving, self.start],
            [self.driving_choice],
            api_visibility="private",
            show_progress="hidden",
        )
        self.driving_choice.change(
            self._choose_driving_face,
            [self.driving, self.start, self.driving_choice],
            [self.driving_faces, self.driving_crop, self.driving_face],
            **private,
        )

        outputs = [
            self.status, self.preview, self.video, self.comparison, self.download, self.keep_motion, self.run,
            self.stop,
        ]  # fmt: skip
        running = self.run.click(
            self._run,
            [self.portrait, self.driving, self.motion_file, self.consent, *self._option_inputs()],
            outputs,
            concurrency_limit=1,
            concurrency_id="render",
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=self.status,
            api_visibility="private",
        )
        self.stop.click(
            self._stop, None, [self.status, self.preview, self.run, self.stop], cancels=[running], queue=False,
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip

        if self.sliders:
            sliders = list(self.sliders.values())
            still = [self.still, self.still_note, self.edits]
            inputs = [self.portrait, self.face, self.refine, *sliders]
            shown = dict(
                trigger_mode="always_last", concurrency_limit=2, concurrency_id="still", show_progress="hidden",
                api_visibility="private",
            )  # fmt: skip
            gr.on([slider.input for slider in sliders], self._show_edits, inputs, still, **shown)
            chosen.then(self._show_edits, inputs, still, **shown)
            self.portrait.change(self._show_edits, inputs, still, **shown)
            self.reset.click(lambda: [0] * len(sliders), None, sliders, queue=False, **private).then(
                self._show_edits, inputs, still, **shown
            )

        self.camera.stream(
            self._live,
            [self.camera, self.portrait, self.face, self.consent, self.edits, self.refine, self.live_relative],
            [self.mirror, self.rate],
            stream_every=0.05,
            time_limit=STREAM_SECONDS,
            concurrency_limit=2,
            concurrency_id="live",
            show_progress="hidden",
            api_visibility="private",
        )
        context = gr.context.Context.root_block
        context.unload(self._forget)

    def _option_inputs(self) -> list:
        return [getattr(self, name) for name in OPTIONS]

    def _show_portrait(self, portrait: str | None, request: gr.Request):
        nothing = (gr.Row(visible=False), None, None, gr.Radio(visible=False), 1)
        if portrait is None:
            return ("", *nothing)
        try:
            seen = self.studio.look_at_portrait(self._session(request), portrait)
        except VivFaceError as error:
            return (error_line(str(error)), *nothing)
        note = "1 face found. On the right: what the program sees of it."
        if len(seen.faces) > 1:
            note = f"{len(seen.faces)} faces found: tap one to choose it. On the right: what the program sees of it."
        return note_line(note), *self._seen(seen)

    def _show_driving(self, driving: str | None, motion_file: str | None, start: float, request: gr.Request):
        nothing = (gr.Row(visible=False), None, None, gr.Radio(visible=False), 1)
        try:
            if motion_file is not None:
                motion = self.studio.limits.check_motion(motion_file)
                seconds = motion.frames / float(motion.fps)
                return (note_line(f"Motion of {motion.frames} frames, {seconds:.1f} seconds."), *nothing)
            if driving is None:
                return ("", *nothing)
            length = self.studio.limits.seconds
            seen = self.studio.look_at_driving(self._session(request), driving, start or 0, length)
        except VivFaceError as error:
            return (error_line(str(error)), *nothing)
        where = f" {seen.time:.1f} seconds in" if seen.time > 0.2 else ""
        note = f"1 face found{where}."
        if len(seen.faces) > 1:
            note = f"{len(seen.faces)} faces found{where}: tap one to choose it."
        return note_line(note), *self._seen(seen)

    def _seen(self, seen) -> tuple:
        count = len(seen.faces)
        choices = [str(number + 1) for number in range(count)]
        crop = seen.crop(1, self.studio.pipeline.config.crop)
        return gr.Row(visible=True), seen.annotated(1), crop, gr.Radio(choices, value="1", visible=count > 1), 1

    def _choose_portrait_face(self, portrait: str | None, choice: str | None, request: gr.Request):
        if portrait is None or choice is None:
            return None, None, 1
        return self._choose(lambda: self.studio.look_at_portrait(self._session(request), portrait), choice)

    def _choose_driving_face(self, driving: str | None, start: float, choice: str | None, request: gr.Request):
        if driving is None or choice is None:
            return None, None, 1
        return self._choose(lambda: self._look_at_driving(request, driving, start), choice)

    def _choose(self, look: Callable, choice: str):
        try:
            seen, number = look(), int(choice)
            return seen.annotated(number), seen.crop(number, self.studio.pipeline.config.crop), number
        except VivFaceError:  # told beside the upload already
            return None, None, 1

    def _tap_portrait(self, portrait: str | None, request: gr.Request, event: gr.SelectData):
        if portrait is None:
            return gr.skip()
        number = self.studio.look_at_portrait(self._session(request), portrait).face_at(*event.index)
        return gr.skip() if number is None else str(number)

    def _tap_driving(self, driving: str | None, start: float, request: gr.Request, event: gr.SelectData):
        if driving is None:
            return gr.skip()
        number = self._look_at_driving(request, driving, start).face_at(*event.index)
        return gr.skip() if number is None else str(number)

    def _look_at_driving(self, request: gr.Request, driving: str, start: float | None):
        return self.studio.look_at_driving(self._session(request), driving, start or 0, self.studio.limits.seconds)

    def _run(self, portrait, driving, motion_file, consent, *options) -> Iterator[tuple]:
        request = _request()
        idle = dict(run=gr.Button(interactive=True), stop=gr.Button(interactive=False))
        try:
            yield self._shown(
                status=progress_line("Waiting to start", 0, None, None),
                preview=gr.Image(value=None, visible=False),
                video=None,
                comparison=gr.Video(value=None, visible=False),
                download=gr.DownloadButton(visible=False),
                keep_motion=gr.DownloadButton(visible=False),
                run=gr.Button(interactive=False),
                stop=gr.Button(interactive=True),
            )
            shown = None
            for update in self._updates(portrait, motion_file or driving, consent, options, request):
                if update.outputs is None:
                    fresh = update.preview is not None and update.preview != shown
                    shown = update.preview
                    yield self._shown(
                        status=progress_line(update.step, update.frames, update.total, update.seconds_left),
                        **({"preview": gr.Image(value=str(shown), visible=True)} if fresh else {}),
                    )
                    continue
                outputs, report = update.outputs, update.report
                comparison, motion = outputs.comparison, outputs.motion
                yield self._shown(
                    status=stats_line(report.frames, report.seconds, report.warnings),
                    preview=gr.Image(value=None, visible=False),
                    video=str(outputs.video),
                    comparison=gr.Video(value=comparison and str(comparison), visible=comparison is not None),
                    download=gr.DownloadButton(value=str(outputs.video), visible=True),
                    keep_motion=gr.DownloadButton(value=motion and str(motion), visible=motion is not None),
                    **idle,
                )
        except Cancelled:
            yield self._shown(status=note_line("Stopped."), preview=gr.Image(value=None, visible=False), **idle)
        except VivFaceError as error:
            hidden = gr.Image(value=None, visible=False)
            yield self._shown(status=error_line(str(error)), preview=hidden, **idle)
            raise gr.Error(escape(str(error)), print_exception=False, title="Not possible") from error

    def _shown(self, **changes) -> tuple:
        """Outputs of a run, in order; those that are not named stay as they are."""
        names = ("status", "preview", "video", "comparison", "download", "keep_motion", "run", "stop")
        return tuple(changes.get(name, gr.skip()) for name in names)

    def _stop(self, request: gr.Request):
        session = self._session(request)
        if session.job is not None:
            session.job.cancel()
        hidden = gr.Image(value=None, visible=False)
        return note_line("Stopped."), hidden, gr.Button(interactive=True), gr.Button(interactive=False)

    def _show_edits(self, portrait: str | None, face: int, refine: bool, *amounts: float):
        edits = {name: amount for name, amount in zip(self.sliders, amounts, strict=True) if amount}
        if portrait is None:
            return None, note_line(NO_PORTRAIT), edits
        try:
            return self._still(self._key(_request()), portrait, face, edits, refine), "", edits
        except VivFaceError as error:
            return None, error_line(str(error)), edits

    def _live(self, camera, portrait, face, consent, edits, refine, relative, request: gr.Request):
        if camera is None:
            return gr.skip(), gr.skip()
        session = self._session(request)
        try:
            self._check_consent(portrait, consent)
            key = (portrait, face, tuple(sorted((edits or {}).items())), refine, relative)
            if session.live is None or session.live[0] != key:
                session.live = (key, self.studio.live(session, portrait, face, edits or {}, refine, relative))
            driver = session.live[1]
            picture, found = driver.update(np.ascontiguousarray(camera[..., :3]))
        except VivFaceError as error:
            return gr.skip(), error_line(str(error))
        seen = "" if found else " No face is seen: come closer to the camera."
        return picture, note_line(f"{driver.fps:.1f} frames per second.{seen}")

    def _forget(self, request: gr.Request) -> None:
        self.studio.sessions.close(self._key(request))

    # ---- work behind the events

    def _updates(self, portrait, driving, consent, options, request: gr.Request) -> Iterator[Update]:
        """Check what is there, then re-enact into a folder that goes when the iterator ends."""
        self._check_consent(portrait, consent)
        if driving is None:
            raise VivFaceError(NO_DRIVING)
        values = dict(zip(OPTIONS, options, strict=True))
        empty = {name: 0 for name in ("start", "length", "smoothing", "height") if values[name] is None}
        values.update(empty, edits=values["edits"] or {}, face=values["face"] or 1)
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            yield from self._render(self._key(request), portrait, driving, Options(**values), folder)

    def _render_clip(self, key: str, portrait: str, driving: str, options: Options, folder: str) -> Iterator[Update]:
        session = self.studio.sessions.get(key)
        yield from self.studio.reenact(session, portrait, driving, options, Path(folder))

    def _gpu_seconds(self, key: str, portrait: str, driving: str, options: Options, folder: str) -> int:
        motion = self.studio.open_motion(driving, options)
        learning = 0.1 * self.studio.pipeline.config.adapt_steps if options.adapt else 0
        return gpu_seconds((motion.frames or 0) / float(motion.fps), float(motion.fps), learning)

    def _edited_still(self, key: str, portrait: str, face: int, edits: dict[str, float], refine: bool) -> np.ndarray:
        session = self.studio.sessions.get(key)
        return self.studio.edited_still(session, portrait, int(face or 1), edits, refine)

    def _check_consent(self, portrait: str | None, consent: bool) -> None:
        if portrait is None:
            raise VivFaceError(NO_PORTRAIT)
        if not consent and not self.studio.is_example(portrait):
            raise VivFaceError(CONSENT_NEEDED)

    def _session(self, request: gr.Request):
        return self.studio.sessions.get(self._key(request))

    @staticmethod
    def _key(request: gr.Request | None) -> str | None:
        return getattr(request, "session_hash", None)

    def _about_values(self) -> dict:
        limits, generator = self.studio.limits, self.studio.pipeline.generator
        return dict(
            size=generator.config.size,
            seconds=round(limits.seconds),
            video=limits.video_bytes // MEGA,
            picture=limits.picture_bytes // MEGA,
            mcp="The same endpoints serve MCP clients at `/gradio_api/mcp/`." if find_spec("mcp") else "",
        )

    # ---- named endpoints for programs

    def _endpoints(self) -> None:
        """Endpoints with plain inputs and outputs; the page itself uses none of them."""
        with gr.Row(visible=False):
            picture, video, motion = gr.Image(), gr.Video(), gr.File()
            portrait = picture_input(label="portrait")
            driving = gr.Video(label="driving", include_audio=True)
            motion_file = gr.File(label="motion_file", file_types=[MOTION_SUFFIX])
            consent = gr.Checkbox(False, label="consent")
            face, driving_face = gr.Number(1, precision=0), gr.Number(1, precision=0)
            adapt, refine = gr.Checkbox(True), gr.Checkbox(True)
            paste_back, compare, relative = gr.Checkbox(False), gr.Checkbox(False), gr.Checkbox(False)
            strength, smoothing, start, length = gr.Number(1), gr.Number(0), gr.Number(0), gr.Number(0)
            height = gr.Number(0, precision=0)
            edits, listing, text = gr.JSON({}), gr.JSON(), gr.Textbox()
            comparison = gr.Video()
            call = gr.Button()
        api = dict(queue=True, api_visibility="public")
        options = [
            face, driving_face, adapt, refine, paste_back, relative, strength, smoothing, start, length, height,
            compare, edits,
        ]  # fmt: skip
        call.click(
            self.reenact,
            [portrait, driving, motion_file, consent, *options],
            [video, comparison, motion, text],
            api_name="reenact",
            concurrency_limit=1,
            concurrency_id="render",
            **api,
        )
        call.click(self.find_faces, [portrait, face], [picture, listing], api_name="find_faces", **api)
        call.click(
            self.find_driving_faces,
            [driving, driving_face, start],
            [picture, listing],
            api_name="find_driving_faces",
            **api,
        )
        call.click(
            self.extract_motion,
            [driving, driving_face, start, length],
            [motion, text],
            api_name="extract_motion",
            concurrency_limit=1,
            concurrency_id="render",
            **api,
        )
        call.click(
            self.edit_portrait,
            [portrait, edits, consent, face, refine],
            [picture],
            api_name="edit_portrait",
            concurrency_limit=2,
            concurrency_id="still",
            **api,
        )
        call.click(self.list_edits, None, [listing], api_name="list_edits", **api)

    def reenact(
        self,
        portrait: str,
        driving: str | None = None,
        motion_file: str | None = None,
        consent: bool = False,
        face: int = 1,
        driving_face: int = 1,
        adapt: bool = True,
        refine: bool = True,
        paste_back: bool = False,
        relative: bool = False,
        strength: float = 1.0,
        smoothing: float = 0.0,
        start: float = 0.0,
        length: float = 0.0,
        height: int = 0,
        compare: bool = False,
        edits: dict | None = None,
        request: gr.Request = None,
    ) -> Iterator[tuple]:
        """Make a portrait move and speak as a driving video does.

        Args:
            portrait: A picture with a face.
            driving: A video with a face; its sound is kept.
            motion_file: A motion file of an earlier run, used instead of the video.
            consent: True: the person in the portrait agreed, or you have the right to use the picture.
            face: Which face of the portrait, 1 the largest.
            driving_face: Which face of the video, 1 the largest.
            adapt: Learn the portrait first, where the checkpoint is meant for that: slower, a closer likeness.
            refine: Bring back fine detail of the portrait.
            paste_back: Put the face back into the whole photo.
            relative: Take over the driver's movements only, not pose and expression themselves.
            strength: Of the motion, 0 to 2.
            smoothing: Seconds over which motion is smoothed, 0 to 0.5.
            start: Where in the video to begin, seconds.
            length: How much of the video to use, seconds; 0 for all the rest.
            height: Of the result in pixels; 0 as it is made.
            compare: Also make a video of portrait, driving video and result side by side.
            edits: Amounts by name, see list_edits.

        Returns:
            The video, the side by side video, the motion file, and a line with frames, seconds and frames per second.
        """
        options = (
            face, driving_face, adapt, refine, paste_back, relative, strength, smoothing, start, length, height,
            compare, edits,
        )  # fmt: skip
        with _readable():
            for update in self._updates(portrait, motion_file or driving, consent, options, request):
                if update.outputs is None:
                    yield None, None, None, f"{update.step}: {update.frames} of {update.total or '?'} frames"
                    continue
                paths = (update.outputs.video, update.outputs.comparison, update.outputs.motion)
                report = update.report
                line = f"{report.frames} frames in {report.seconds:.1f} s, {report.fps:.1f} frames per second."
                yield *(path and str(path) for path in paths), " ".join([line, *report.warnings])

    def find_faces(self, portrait: str, face: int = 1, request: gr.Request = None) -> tuple[np.ndarray, list]:
        """Find the faces of a picture.

        Args:
            portrait: A picture.
            face: The face to mark, 1 the largest.

        Returns:
            The picture with numbered faces, and for each face its box as left, top, right, bottom in pixels.
        """
        with _readable():
            self._check_portrait(portrait)
            seen = self.studio.look_at_portrait(self._session(request), portrait)
            seen.choose(face)
            return seen.annotated(face), _boxes(seen)

    def find_driving_faces(
        self, driving: str, driving_face: int = 1, start: float = 0.0, request: gr.Request = None
    ) -> tuple[np.ndarray, list]:
        """Find the faces in the first frame of a video that shows any.

        Args:
            driving: A video.
            driving_face: The face to mark, 1 the largest.
            start: Where in the video to begin, seconds.

        Returns:
            The frame with numbered faces, and for each face its box as left, top, right, bottom in pixels.
        """
        with _readable():
            if driving is None:
                raise VivFaceError(NO_DRIVING)
            seen = self._look_at_driving(request, driving, start)
            seen.choose(driving_face)
            return seen.annotated(driving_face), _boxes(seen)

    def extract_motion(
        self, driving: str, driving_face: int = 1, start: float = 0.0, length: float = 0.0, request: gr.Request = None
    ) -> Iterator[tuple]:
        """Save the motion of a video as a file, to use it with any portrait later.

        Args:
            driving: A video with a face.
            driving_face: Which face, 1 the largest.
            start: Where in the video to begin, seconds.
            length: How much of the video to use, seconds; 0 for all the rest.

        Returns:
            The motion file, and a line with frames and seconds.
        """
        with _readable(), tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            if driving is None:
                raise VivFaceError(NO_DRIVING)
            options = Options(driving_face=driving_face, start=start or 0, length=length or 0)
            path, frames, seconds = self.studio.save_motion(driving, options, Path(folder))
            yield str(path), f"{frames} frames, {seconds:.1f} seconds of motion."

    def edit_portrait(
        self,
        portrait: str,
        edits: dict | None = None,
        consent: bool = False,
        face: int = 1,
        refine: bool = True,
        request: gr.Request = None,
    ) -> Iterator[str]:
        """Change attributes, expression or pose of a portrait.

        Args:
            portrait: A picture with a face.
            edits: Amounts by name, see list_edits.
            consent: True: the person in the portrait agreed, or you have the right to use the picture.
            face: Which face, 1 the largest.
            refine: Bring back fine detail of the portrait.

        Returns:
            The edited picture.
        """
        with _readable(), tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            self._check_consent(portrait, consent)
            image = self._still(self._key(request), portrait, face, edits or {}, refine)
            path = Path(folder) / "vivface.png"
            save_image(path, image)
            yield str(path)

    def list_edits(self) -> list:
        """List what can be edited.

        Returns:
            For each edit its name, a label, and the largest amount in either direction.
        """
        return [
            {"name": direction.name, "label": direction.label, "reach": direction.reach}
            for direction in self.studio.directions.values()
        ]

    @staticmethod
    def _check_portrait(portrait: str | None) -> None:
        if portrait is None:
            raise VivFaceError(NO_PORTRAIT)


class _readable:  # noqa: N801 - reads as a statement
    """Turn errors that a user can cause into messages of the page."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        if isinstance(error, Cancelled):
            raise gr.Error("Stopped.", print_exception=False) from error
        if isinstance(error, VivFaceError):
            raise gr.Error(str(error), print_exception=False) from error


def _request() -> gr.Request | None:
    """The request being answered, for functions that take any number of inputs."""
    return gr.context.LocalContext.request.get(None)


def _boxes(seen) -> list:
    return [[round(float(value), 1) for value in face.box] for face in seen.faces]


def main() -> None:
    """Open the page; a checkpoint that cannot be loaded ends it with one sentence."""
    try:
        demo = create_demo()
    except VivFaceError as error:
        sys.exit(f"Error: {error}")
    demo.launch(**launch_options())


if __name__ == "__main__":
    main()
