"""The layout of the page: which components there are and where."""

from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.helpers import Examples

from vivface import __version__
from vivface.space.components import ImageUpload, RenderedImage, SliderInput, option_component
from vivface.space.driver_input import DriverInput
from vivface.space.examples import example_pairs
from vivface.space.face_picker import FacePicker
from vivface.space.history import History
from vivface.space.limits import MEGA
from vivface.space.options import PART_OPTIONS, portrait_options
from vivface.space.previews import FaceDetections
from vivface.space.result_panel import PRIVATE, ResultPanel
from vivface.space.service import ReenactmentService, new_visitor
from vivface.space.text import (
    ABOUT,
    CONSENT,
    EDIT_HINT,
    INTRO,
    LIVE_HINT,
    NO_EDITS,
    NO_LIVE,
    PARTS_HINT,
    SECOND_DRIVER_HINT,
    VERIFY_HINT,
    note_line,
)

SHOW_PORTRAIT = '() => { document.getElementById("portrait-column").hidden = !SHOW; }'
SESSION_SECONDS = 12 * 3600  # an open page is forgotten after this, a closed one after an hour


class Page:
    """All components of the page; must be made inside a `gr.Blocks`.

    Args:
        service (`ReenactmentService`): Does the work.
        portraits, clips (lists of `Path`): The examples.
    """

    def __init__(self, service: ReenactmentService, portraits: list[Path], clips: list[Path]):
        self.service = service
        self.options: dict[str, Component] = {}
        self.sliders: dict[str, gr.Slider] = {}
        self.result = ResultPanel()

        def forget(visitor: str) -> None:  # a function: Gradio copies it with every request, a method with its object
            service.forget(visitor)

        self.visitor = gr.State(new_visitor, time_to_live=SESSION_SECONDS, delete_callback=forget)
        self.visitor.load_event_to_attach = None  # it would be a public endpoint; this one is not:
        gr.on(None, new_visitor, None, [self.visitor], queue=False, api_visibility="private", show_progress="hidden")
        gr.HTML(INTRO)
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=2, min_width=320, elem_id="portrait-column"):
                self._add_portrait(portraits)
            with gr.Column(scale=5, min_width=320):
                with gr.Tabs():
                    reenact_tab = gr.Tab("Re-enact", id="reenact")
                    with reenact_tab:
                        examples = gr.Column()
                        with gr.Row():
                            with gr.Column(min_width=280):
                                self._add_driving(clips)
                                self._add_options()
                                self.result.add_buttons()
                            with gr.Column(min_width=280):
                                self.result.add_results()
                        with examples:
                            self.examples = self._add_examples(example_pairs(portraits, clips))
                    self.film_tab = gr.Tab("Film", id="film")
                    edit_tab = gr.Tab("Edit", id="edit")
                    with edit_tab:
                        self._add_edits()
                    self.expression_tab = gr.Tab("Expression", id="expression")
                    live_tab = gr.Tab("Live", id="live")
                    with live_tab:
                        self._add_live()
                    self.codec_tab = gr.Tab("Codec", id="codec", visible=service.codec is not None)
                    verify_tab = gr.Tab("Verify", id="verify")
                    with verify_tab:
                        self._add_verify()
                    about_tab = gr.Tab("About", id="about")
                    with about_tab:
                        gr.Markdown(ABOUT.format(version=__version__, **self._numbers()), elem_classes="about")
                self.history = History()
        with_portrait = [reenact_tab, edit_tab, self.expression_tab, live_tab, self.codec_tab]
        for tab in (*with_portrait, self.film_tab, verify_tab, about_tab):
            show = "true" if tab in with_portrait else "false"
            tab.select(None, js=SHOW_PORTRAIT.replace("SHOW", show), show_progress="hidden", **PRIVATE)
        self.options = {name: self.options[name] for name in portrait_options()}

    def _add_portrait(self, examples: list[Path]) -> None:
        self.portrait = ImageUpload(
            label="Portrait",
            sources=["upload", "webcam", "clipboard"],
            height=300,
            elem_id="portrait",
            alt_text="The portrait you chose",
            placeholder="# Drop an image with a face\nor tap to choose one",
        )
        self.portrait_faces = FacePicker(
            "portrait",
            "face",
            self._detect_portrait,
            alt_text="The portrait with a numbered frame around every face",
            crop_alt_text="The chosen face, aligned",
            height=200,
            hint="On the right: the face as the networks see it.",
        )
        self.options["face"] = self.portrait_faces.face
        self.consent = gr.Checkbox(False, label=CONSENT, info="Not needed for the examples.", elem_id="consent")
        if examples:
            gr.Examples(
                [[str(path)] for path in examples],
                self.portrait,
                label="Example portraits",
                elem_id="example-portraits",
                api_visibility="private",
            )

    def _add_driving(self, clips: list[Path]) -> None:
        self.driver = DriverInput(self.service, clips)
        self.options["driving_face"] = self.driver.face
        with gr.Accordion("A second driver", open=False, elem_id="second-driver"):
            gr.HTML(note_line(SECOND_DRIVER_HINT))
            self.co_driving = gr.Video(label="Motion of the head", sources=["upload"], elem_id="co-driving")

    def _add_examples(self, pairs: list[tuple[Path, Path]]) -> Examples | None:
        if not pairs:
            return None
        return gr.Examples(
            [[str(path) for path in pair] for pair in pairs],
            [self.portrait, self.driver.video],
            label="See an example",
            example_labels=[portrait.stem.capitalize() for portrait, _ in pairs],
            elem_id="examples",
            api_visibility="private",
        )

    def _add_options(self) -> None:
        def add(name: str, **changes) -> None:
            self.options[name] = option_component(name, elem_id=name.replace("_", "-"), **changes)

        add("paste_back")
        add("compare")
        add("label")
        with gr.Accordion("More options", open=False, elem_id="more-options"):
            add("faces", placeholder="1:1, 2:2", visible=self.service.pipeline.offers_detail)
            add("detail", visible=self.service.pipeline.offers_detail)
            add("refine", visible=getattr(self.service.pipeline, "refinement", None) is not None)
            add("adapt", visible=self.service.pipeline.config.adapt_steps > 0)
            for name in ("motion_mode", "strength", "smoothing"):
                add(name)
            with gr.Row():
                add("start", min_width=120)
                add("duration", min_width=120)
            add("height")
            add("background", visible=self.service.pipeline.offers_detail)
        with gr.Accordion("Parts of the motion", open=False, elem_id="parts"):
            gr.HTML(note_line(PARTS_HINT))
            for name in PART_OPTIONS:
                add(name)

    def _add_edits(self) -> None:
        self.options["edits"] = option_component("edits", visible=False)
        known = ", ".join(self.service.directions)
        self.options["timeline"] = option_component(
            "timeline", elem_id="timeline", placeholder=f"NAME=SECOND:AMOUNT,... with the names {known}",
            visible=bool(self.service.directions), render=False,
        )  # fmt: skip
        if not self.service.directions:
            self.options["timeline"].render()
            gr.HTML(note_line(NO_EDITS))
            return
        gr.HTML(note_line(EDIT_HINT))
        with gr.Row():
            with gr.Column(min_width=260):
                self.still = RenderedImage(
                    label="Edited portrait",
                    elem_id="still",
                    alt_text="The portrait with your edits",
                    height=360,
                    signed=True,
                )
                self.still_note = gr.HTML(elem_id="still-note", elem_classes="note")
                self.reset = gr.Button("Undo all edits", size="md", elem_id="reset-edits")
                self.options["timeline"].render()
            with gr.Column(min_width=260):
                for space, title in (("motion", "Expression and pose"), ("w_plus", "Person and image")):
                    if not (group := self.service.directions.of(space)):
                        continue
                    with gr.Accordion(title, open=True):
                        for direction in group:
                            reach, name = round(direction.reach, 2), direction.name
                            self.sliders[name] = SliderInput(
                                -reach, reach, 0, step=reach / 20, label=direction.label, elem_id=f"edit-{name}"
                            )

    def _add_live(self) -> None:
        if not self.service.renderer.offers_live:
            gr.HTML(note_line(NO_LIVE), elem_id="no-live")
            return
        gr.HTML(note_line(LIVE_HINT))
        with gr.Row():
            self.camera = gr.Image(
                label="Your camera",
                sources=["webcam"],
                streaming=True,
                type="numpy",
                elem_id="camera",
                alt_text="The image of your camera",
                height=320,
                webcam_options=gr.WebcamOptions(constraints={"video": {"width": 480, "height": 360}}),
            )
            self.live_output = RenderedImage(
                label="Portrait", elem_id="live-output", alt_text="The portrait, moving as you do", height=320
            )
        self.rate = gr.HTML(elem_id="rate", elem_classes="note")
        self.live_relative = gr.Checkbox(
            False, label="Only my movements, starting from the portrait's own pose", elem_id="live-relative"
        )

    def _add_verify(self) -> None:
        gr.HTML(note_line(VERIFY_HINT))
        with gr.Row():
            with gr.Column(min_width=280):
                self.suspect = gr.File(
                    label="Image or video", file_types=["image", "video"], height=140, elem_id="suspect"
                )
                self.check = gr.Button("Verify", variant="primary", elem_id="check")
            with gr.Column(min_width=280):
                self.verdict = gr.HTML(note_line("What was found appears here."), elem_id="verdict")

    def _detect_portrait(self, visitor: str, portrait: str | None) -> FaceDetections | None:
        return None if portrait is None else self.service.detect_portrait(visitor, portrait)

    def _numbers(self) -> dict[str, object]:
        limits = self.service.limits
        return dict(
            size=self.service.pipeline.output_size,
            seconds=round(limits.seconds),
            video=limits.video_bytes // MEGA,
            image=limits.image_bytes // MEGA,
            mcp="The same endpoints serve MCP clients at `/gradio_api/mcp/`." if find_spec("mcp") else "",
        )
