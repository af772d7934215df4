"""What happens on the page: running, stopping, editing, live."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from vivface.errors import VivFaceError
from vivface.space.jobs import Cancelled, Update
from vivface.space.options import PART_OPTIONS, Options, check_value
from vivface.space.page import Page
from vivface.space.text import error_line, note_line, progress_line, report_line, verdict_lines

STREAM_SECONDS = 300  # a live stream ends after this, so that others get their turn
WAITING_RUNS = 16  # runs that may wait for their turn at once; more wait outside
RESULTS = ("status", "preview", "video", "comparison", "download", "save_motion", "run", "stop")
PRIVATE = dict(api_visibility="private")


def user_error(error: Exception) -> gr.Error:
    """An error of a user as Gradio shows it: one sentence, in which nothing is HTML."""
    text = "Stopped." if isinstance(error, Cancelled) else str(error)
    return gr.Error(escape(text, quote=False), print_exception=False, title="Not possible")


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors that a user can cause into those that Gradio shows."""
    try:
        yield
    except (VivFaceError, Cancelled) as error:
        raise user_error(error) from error


class Events:
    """Connects the page's components to the service; must be made inside the page's `gr.Blocks`.

    Args:
        page (`Page`): The components.
    """

    def __init__(self, page: Page):
        self.page = page
        self.service = page.service
        chosen = page.portrait_faces.connect([page.portrait.change], page.visitor, [page.portrait])
        inputs = [page.driving, page.motion_file, page.options["start"]]
        page.driving_faces.connect([item.change for item in inputs], page.visitor, inputs)
        self._connect_run()
        if page.sliders:
            self._connect_edits(chosen)
        if self.service.renderer.offers_live:
            self._connect_live()
        page.check.click(self._verify, [page.suspect], [page.verdict], show_progress="minimal", **PRIVATE)

    def _connect_run(self) -> None:
        page = self.page
        running = page.run.click(
            self._run,
            [
                page.visitor,
                page.portrait,
                page.driving,
                page.motion_file,
                page.co_driving,
                page.consent,
                *page.options.values(),
            ],
            [getattr(page, name) for name in RESULTS],
            concurrency_limit=WAITING_RUNS,
            concurrency_id="render",
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=page.status,
            **PRIVATE,
        )
        stopped = [page.status, page.preview, page.run, page.stop]
        page.stop.click(self._stop, [page.visitor], stopped, queue=False, show_progress="hidden", **PRIVATE)
        page.stop.click(None, cancels=[running])  # one that is still waiting outside

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
    ) -> Iterator[tuple]:
        idle = dict(
            preview=gr.Image(value=None, visible=False),
            run=gr.Button(interactive=True),
            stop=gr.Button(interactive=False),
        )
        try:
            yield _changed(
                status=progress_line(Update("Starting")),
                preview=gr.Image(value=None, visible=False),
                video=None,
                comparison=gr.Video(value=None, visible=False),
                download=gr.DownloadButton(visible=False),
                save_motion=gr.DownloadButton(visible=False),
                run=gr.Button(interactive=False),
                stop=gr.Button(interactive=True),
            )
            options = Options.of(dict(zip(self.page.options, values, strict=True)))
            admitted = self.service.admit(portrait, consent)
            shown = None
            for update in self.service.reenact(visitor, admitted, motion_file or driving, options, co_driving):
                if update.result is not None:
                    yield _changed(**_finished(update), **idle)
                    continue
                changes = {"status": progress_line(update)}
                if update.preview is not None and shown is None:
                    shown = update.preview
                    changes["preview"] = gr.Image(value=str(shown), visible=True)
                yield _changed(**changes)
        except Cancelled:
            yield _changed(status=note_line("Stopped."), **idle)
        except VivFaceError as error:
            yield _changed(status=error_line(str(error)), **idle)
            raise user_error(error) from error

    def _stop(self, visitor: str) -> tuple:
        self.service.stop(visitor)
        hidden = gr.Image(value=None, visible=False)
        return note_line("Stopped."), hidden, gr.Button(interactive=True), gr.Button(interactive=False)

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


def _finished(update: Update) -> dict[str, Any]:
    outputs = update.result
    comparison, motion = (path and str(path) for path in (outputs.comparison, outputs.motion))
    return dict(
        status=report_line(update.report),
        video=str(outputs.video),
        comparison=gr.Video(value=comparison, visible=comparison is not None),
        download=gr.DownloadButton(value=str(outputs.video), visible=True),
        save_motion=gr.DownloadButton(value=motion, visible=motion is not None),
    )


def _changed(**changes: Any) -> tuple:
    """Outputs of a run, in order; those that are not named stay as they are."""
    return tuple(changes.get(name, gr.skip()) for name in RESULTS)
