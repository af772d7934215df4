"""What happens on the page: running, stopping, editing, live."""

from typing import Any

import gradio as gr
import numpy as np

from vivface.errors import VivFaceError
from vivface.space.compare_view import Compared
from vivface.space.options import PART_OPTIONS, Options, check_value, options_in_words
from vivface.space.page import Page
from vivface.space.result_panel import PRIVATE, Run
from vivface.space.text import error_line, note_line, verdict_lines

STREAM_SECONDS = 300  # a live stream ends after this, so that others get their turn
STOPPING_SECONDS = 10.0  # at most so long an example waits for the end of what it takes the place of


class Events:
    """Connects the page's components to the service; must be made inside the page's `gr.Blocks`.

    Args:
        page (`Page`): The components.
    """

    def __init__(self, page: Page):
        self.page = page
        self.service = page.service
        chosen = page.portrait_faces.connect([page.portrait.change], page.visitor, [page.portrait])
        page.driver.connect(page.visitor, page.options["start"])
        self._connect_run()
        if page.sliders:
            self._connect_edits(chosen)
        if self.service.renderer.offers_live:
            self._connect_live()
        page.check.click(self._verify, [page.suspect], [page.verdict], show_progress="minimal", **PRIVATE)

    def _connect_run(self) -> None:
        page = self.page
        driver = [page.driver.video, page.driver.motion_file, page.co_driving]
        inputs = [page.visitor, page.portrait, *driver, page.consent, *page.options.values()]
        example = None
        if page.examples is not None:
            alone = [page.driver.motion_file, page.co_driving]  # what would drive in place of the example's video
            example = page.examples.load_input_event.then(
                self._instead, [page.visitor], alone, queue=False, show_progress="hidden", **PRIVATE
            )
        runs = page.result.connect(self._run, inputs, self.service.stop, page.visitor, example)
        if page.examples is not None:
            page.examples.dataset.click(None, cancels=runs[:1])  # one that is still waiting outside, too
        page.history.follow(runs, page.result.view)

    def _instead(self, visitor: str) -> tuple[None, None]:
        """Stop what the visitor runs, and clear what would drive in place of the example's video."""
        self.service.stop(visitor, STOPPING_SECONDS)
        return None, None

    def _connect_edits(self, chosen: gr.events.Dependency) -> None:
        page = self.page
        sliders = list(page.sliders.values())
        inputs = [page.visitor, page.portrait, page.consent, page.options["face"], page.options["refine"], *sliders]
        outputs = [page.still, page.still_note, page.options["edits"]]
        shown = dict(
            trigger_mode="always_last", concurrency_limit=2, concurrency_id="still", show_progress="hidden", **PRIVATE
        )
        triggers = [*(slider.input for slider in sliders), page.portrait.change, page.consent.change]
        gr.on(triggers, self._show_edits, inputs, outputs, **shown)
        chosen.then(self._show_edits, inputs, outputs, **shown)
        page.reset.click(lambda: [0] * len(sliders), None, sliders, queue=False, **PRIVATE).then(
            self._show_edits, inputs, outputs, **shown
        )

    def _connect_live(self) -> None:
        page = self.page
        options = [page.options[name] for name in ("face", "edits", "refine")]
        parts = [page.options[name] for name in PART_OPTIONS]
        page.camera.stream(
            self._live,
            [page.visitor, page.camera, page.portrait, page.consent, *options, page.live_relative, *parts],
            [page.live_output, page.rate],
            stream_every=0.05,
            time_limit=STREAM_SECONDS,
            concurrency_limit=2,
            concurrency_id="live",
            show_progress="hidden",
            **PRIVATE,
        )

    def _run(
        self,
        visitor: str,
        portrait: str | None,
        driving: str | None,
        motion_file: str | None,
        co_driving: str | None,
        consent: bool,
        *values: Any,
    ) -> Run:
        options = Options.of(dict(zip(self.page.options, values, strict=True)))
        admitted = self.service.admit(portrait, consent)
        driver, words = None if motion_file else driving, options_in_words(options)
        compared = Compared(portrait, driver=driver, words=words, driver_start=options.start)
        return Run(self.service.reenact(visitor, admitted, motion_file or driving, options, co_driving), compared)

    def _show_edits(
        self, visitor: str, portrait: str | None, consent: bool, face: Any, refine: Any, *amounts: float
    ) -> tuple[np.ndarray | None, str, dict[str, float]]:
        edits = {name: amount for name, amount in zip(self.page.sliders, amounts, strict=True) if amount}
        try:
            admitted = self.service.admit(portrait, consent)
            face = check_value("face", face)
            return self.service.edited_still(visitor, admitted, face, edits, bool(refine)), "", edits
        except VivFaceError as error:
            return None, error_line(str(error)) if portrait is not None else note_line(str(error)), edits

    def _verify(self, path: str | None) -> str:
        try:
            return verdict_lines(self.service.verify(path).lines())
        except VivFaceError as error:
            return error_line(str(error))

    def _live(
        self,
        visitor: str,
        camera: np.ndarray | None,
        portrait: str | None,
        consent: bool,
        face: Any,
        edits: dict | None,
        refine: Any,
        relative: bool,
        *parts: Any,
    ) -> tuple:
        if camera is None:
            return gr.skip(), gr.skip()
        try:
            admitted, face = self.service.admit(portrait, consent), check_value("face", face)
            mode = "relative" if relative else "absolute"
            strengths = Options.of(dict(zip(PART_OPTIONS, parts, strict=True))).parts
            driver = self.service.live(visitor, admitted, face, edits or {}, bool(refine), mode, strengths)
            image, found = driver.update(np.ascontiguousarray(camera[..., :3]))
        except VivFaceError as error:
            return gr.skip(), error_line(str(error))
        hint = "" if found else " No face was found: come closer to the camera."
        return image, note_line(f"{driver.fps:.1f} frames per second.{hint}")
