"""The tab of films: the face of a film wears the expression of a driving clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from vivface.reenactment.codes import MOTION_SUFFIX
from vivface.space.api import takes_options
from vivface.space.compare_view import Compared
from vivface.space.components import option_component, option_parameter
from vivface.space.driver_input import DriverInput
from vivface.space.face_picker import FacePicker
from vivface.space.options import FILM_OPTIONS, PART_OPTIONS, Options, check_value, options_in_words
from vivface.space.page import Page
from vivface.space.previews import FaceDetections
from vivface.space.result_panel import WAITING_RUNS, ResultPanel, Run
from vivface.space.service import new_visitor
from vivface.space.text import (
    FILM_CONSENT,
    FILM_HINT,
    FILM_PARTS_HINT,
    NO_FILM,
    note_line,
    progress_words,
    report_words,
)


def add_films(page: Page, clips: list[Path]) -> None:
    """Fill the tab of films, and add the endpoint; must be called inside the page's `gr.Blocks`."""
    with page.film_tab:
        FilmTab(page, clips)
    FilmEndpoint(page)


class FilmTab:
    """Components and events; must be made inside a tab of the page.

    Args:
        page (`Page`): Its visitor, and its list of earlier results, are used.
        clips (list of `Path`): Example videos.
    """

    def __init__(self, page: Page, clips: list[Path]):
        self.page, self.service = page, page.service
        self.options: dict[str, Component] = {}
        self.panel = ResultPanel("film", "Re-enact the film", "film, result")
        gr.HTML(note_line(FILM_HINT), elem_id="film-hint")
        with gr.Row():
            with gr.Column(min_width=280):
                self._add_film(clips)
            with gr.Column(min_width=280):
                self.driver = DriverInput(self.service, clips, "film")
                self.options["driving_face"] = self.driver.face
                self._add_options()
                self.panel.add_buttons()
            with gr.Column(min_width=280):
                self.panel.add_results()
        self.options = {name: self.options[name] for name in FILM_OPTIONS}
        self._connect()

    def _add_film(self, examples: list[Path]) -> None:
        self.film = gr.Video(
            label="Film", sources=["upload", "webcam"], include_audio=True, elem_id="film", elem_classes="driving"
        )
        self.faces = FacePicker(
            "film",
            "face",
            self._detect,
            alt_text="A frame of the film with a numbered frame around every face",
            crop_alt_text="The chosen face of the film, aligned",
            height=180,
        )
        self.options["face"] = self.faces.face
        self.consent = gr.Checkbox(
            False, label=FILM_CONSENT, info="Not needed for the examples.", elem_id="film-consent"
        )
        if examples:
            gr.Examples(
                [[str(path)] for path in examples],
                self.film,
                label="Example films",
                elem_id="example-films",
                api_visibility="private",
            )

    def _add_options(self) -> None:
        def add(*names: str, **changes: Any) -> None:
            for name in names:
                self.options[name] = option_component(name, elem_id=f"film-option-{name.replace('_', '-')}", **changes)

        add("head", "fit", "sound")
        with gr.Accordion("More options", open=False, elem_id="film-more-options"):
            add("faces", placeholder="1:1, 2:2")
            add("motion_mode", "strength", "smoothing")
            with gr.Row():
                add("film_start", "film_duration", min_width=120)
            with gr.Row():
                add("start", label="Start of the driving video at second", min_width=120)
                add("duration", label="Seconds of the driving video", min_width=120)
            add("compare", "label")
        with gr.Accordion("Parts of the motion", open=False, elem_id="film-parts"):
            gr.HTML(note_line(FILM_PARTS_HINT))
            add(*(name for name in PART_OPTIONS if name in FILM_OPTIONS))

    def _connect(self) -> None:
        page, options = self.page, self.options
        inputs = [self.film, options["film_start"]]
        self.faces.connect([item.change for item in inputs], page.visitor, inputs)
        self.driver.connect(page.visitor, options["start"])
        inputs = [page.visitor, self.film, self.driver.video, self.driver.motion_file, self.consent, *options.values()]
        runs = self.panel.connect(self._run, inputs, self.service.stop, page.visitor)
        page.history.follow(runs, self.panel.view)

    def _detect(self, visitor: str, film: str | None, start: float | None) -> FaceDetections | None:
        return None if film is None else self.service.detect_driving(visitor, film, check_value("film_start", start))

    def _run(
        self,
        visitor: str,
        film: str | None,
        driving: str | None,
        motion_file: str | None,
        consent: bool,
        *values: Any,
    ) -> Run:
        options = Options.of(dict(zip(FILM_OPTIONS, values, strict=True)))
        admitted = self.service.admit(film, consent, NO_FILM)
        compared = Compared(
            film,
            driver=None if motion_file else driving,
            words=options_in_words(options),
            source_start=options.film_start,
            driver_start=options.start,
            fit=options.fit,
        )
        return Run(self.service.reenact_film(visitor, admitted, motion_file or driving, options), compared)


class FilmEndpoint:
    """The same for programs; must be made inside the page's `gr.Blocks`.

    Args:
        page (`Page`): Whose service and visitor are used.
    """

    def __init__(self, page: Page):
        self.service = page.service
        with gr.Row(visible=False):
            film, driving = (gr.Video(label=name, include_audio=True) for name in ("film", "driving"))
            motion_file = gr.File(label="motion_file", file_types=[MOTION_SUFFIX])
            consent = gr.Checkbox(False, label="consent")
            options = [option_parameter(name) for name in FILM_OPTIONS]
            video, comparison, words, call = gr.Video(), gr.Video(), gr.Textbox(), gr.Button()
        call.click(
            self.reenact_film,
            [film, driving, motion_file, consent, *options, page.visitor],
            [video, comparison, words],
            api_name="reenact_film",
            api_visibility="public",
            concurrency_limit=WAITING_RUNS,
            concurrency_id="render",
        )

    @takes_options(*FILM_OPTIONS)
    def reenact_film(
        self,
        film: str,
        driving: str | None = None,
        motion_file: str | None = None,
        consent: bool = False,
        *,
        options: Options,
        visitor: str,
    ) -> Iterator[tuple]:
        """Put the expression of a driving video onto the face of a film, frame by frame.

        Args:
            film: A video with a face; the result has its size, frame rate and, unless told otherwise, its sound.
            driving: A video with a face whose expression the film's face is to wear.
            motion_file: A motion file of an earlier run (.safetensors), used instead of the driving video.
            consent: True if the person in the film agreed, or you have the right to use the film.
            {options}

        Returns:
            The video, the side by side video of film and result, and a line with frames, seconds and frames per second.
        """
        admitted = self.service.admit(film, consent, NO_FILM)
        visitor = visitor or new_visitor()
        for update in self.service.reenact_film(visitor, admitted, motion_file or driving, options):
            if update.result is None:
                yield None, None, progress_words(update)
                continue
            paths = (update.result.video, update.result.comparison)
            yield *(path and str(path) for path in paths), report_words(update.report)
