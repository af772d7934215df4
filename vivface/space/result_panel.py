"""What a run shows on the page: how far it is, the first frames, the result, and files to download."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from vivface.errors import VivFaceError
from vivface.space.compare_view import Compared, CompareView
from vivface.space.jobs import Cancelled, Update
from vivface.space.text import error_line, note_line, progress_line, report_line

WAITING_RUNS = 16  # runs that may wait for their turn at once; more wait outside
PRIVATE = dict(api_visibility="private")
RESULTS = ("status", "preview", "video", "comparison", "view", "download", "save_motion", "run", "stop")


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


@dataclass(frozen=True)
class Run:
    """A run that is about to begin.

    Attributes:
        updates (iterator of `Update`): Does the work while it is read.
        compared (`Compared`): What the result is compared with; its files are added at the end.
    """

    updates: Iterator[Update]
    compared: Compared


class ResultPanel:
    """Buttons, progress and results of a tab; must be made inside a `gr.Blocks`, the buttons apart from the rest.

    Args:
        name (`str`, *optional*): Start of the components' ids.
        run (`str`): On the button that runs.
        row (`str`): What a row of the second video shows.
    """

    def __init__(self, name: str = "", run: str = "Re-enact", row: str = "portrait, driving video, result"):
        self._prefix, self._label, self._row = f"{name}-" if name else "", run, row

    def add_buttons(self) -> None:
        """The buttons that run and stop."""
        with gr.Row():
            self.run = gr.Button(self._label, variant="primary", elem_id=f"{self._prefix}run", scale=2)
            self.stop = gr.Button("Stop", variant="stop", interactive=False, elem_id=f"{self._prefix}stop", scale=1)

    def add_results(self) -> None:
        """Everything else."""
        prefix = self._prefix
        self.status = gr.HTML(note_line("The result appears here."), elem_id=f"{prefix}status", elem_classes="note")
        self.preview = gr.Image(
            label="First frames, while the rest is made",
            interactive=False,
            visible=False,
            buttons=[],
            elem_id=f"{prefix}preview",
            elem_classes="fitted",
            alt_text="The first frames of the result",
            height=260,
        )
        with gr.Tabs(elem_classes="inner", elem_id=f"{prefix}views"):
            with gr.Tab("Result"):
                self.video = gr.Video(
                    label="Result",
                    interactive=False,
                    elem_id=f"{prefix}result",
                    elem_classes="fitted",
                    height=380,
                    buttons=["download"],
                )
            with gr.Tab("Compare", render_children=True):
                self.view = CompareView(elem_id=f"{prefix}compare")
        self.comparison = gr.Video(
            label=f"Side by side: {self._row}",
            interactive=False,
            visible=False,
            elem_id=f"{prefix}comparison",
            elem_classes="fitted",
            buttons=["download"],
        )
        with gr.Row():
            self.download = gr.DownloadButton("Download video", visible=False, size="md", elem_id=f"{prefix}download")
            self.save_motion = gr.DownloadButton(
                "Download motion file", visible=False, size="md", elem_id=f"{prefix}keep-motion"
            )

    def connect(
        self,
        function: Callable[..., Run],
        inputs: list,
        stop: Callable[[str], None],
        visitor: gr.State,
        example: gr.events.Dependency | None = None,
    ) -> list[gr.events.Dependency]:
        """Let the buttons run and stop.

        Args:
            function (callable): The values of `inputs` to a `Run`; raises `VivFaceError`.
            inputs (list of components): What it gets.
            stop (callable): Stops what a visitor runs.
            visitor (`gr.State`): Who that is.
            example (event, *optional*): After it, what the inputs then hold is run.

        Returns:
            The events of the end of a run.
        """

        def shown(*values: Any) -> Iterator[tuple]:
            yield from self._shown(lambda: function(*values))

        def stopped(visitor: str) -> tuple:
            stop(visitor)
            return self._changed(status=note_line("Stopped."), **self._idle())

        outputs = [getattr(self, name) for name in RESULTS]
        how = dict(
            concurrency_limit=WAITING_RUNS,
            concurrency_id="render",
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=self.status,
            **PRIVATE,
        )
        runs = [self.run.click(shown, inputs, outputs, **how)]
        if example is not None:
            runs.append(example.then(shown, inputs, outputs, scroll_to_output=True, **how))
        self.stop.click(stopped, [visitor], outputs, queue=False, show_progress="hidden", **PRIVATE)
        self.stop.click(None, cancels=runs)  # those that are still waiting outside
        return runs

    def _shown(self, begin: Callable[[], Run]) -> Iterator[tuple]:
        try:
            yield self._changed(status=progress_line(Update("Starting")), **self._blank())
            run, shown = begin(), None
            for update in run.updates:
                if update.result is not None:
                    yield self._changed(**self._finished(update, run.compared), **self._idle())
                    continue
                changes = {"status": progress_line(update)}
                if update.preview is not None and shown is None:
                    shown = update.preview
                    changes["preview"] = gr.Image(value=str(shown), visible=True)
                yield self._changed(**changes)
        except Cancelled:
            yield self._changed(status=note_line("Stopped."), **self._idle())
        except VivFaceError as error:
            yield self._changed(status=error_line(str(error)), **self._idle())
            raise user_error(error) from error

    def _blank(self) -> dict[str, Any]:
        return dict(
            preview=gr.Image(value=None, visible=False),
            video=None,
            view=None,
            comparison=gr.Video(value=None, visible=False),
            download=gr.DownloadButton(visible=False),
            save_motion=gr.DownloadButton(visible=False),
            run=gr.Button(interactive=False),
            stop=gr.Button(interactive=True),
        )

    def _idle(self) -> dict[str, Any]:
        return dict(
            preview=gr.Image(value=None, visible=False),
            run=gr.Button(interactive=True),
            stop=gr.Button(interactive=False),
        )

    def _finished(self, update: Update, compared: Compared) -> dict[str, Any]:
        outputs = update.result
        video, comparison, motion = (path and str(path) for path in (outputs.video, outputs.comparison, outputs.motion))
        return dict(
            status=report_line(update.report, update.kept),
            video=video,
            view=replace(compared, result=video, motion=motion),
            comparison=gr.Video(value=comparison, visible=comparison is not None),
            download=gr.DownloadButton(value=video, visible=True),
            save_motion=gr.DownloadButton(value=motion, visible=motion is not None),
        )

    @staticmethod
    def _changed(**changes: Any) -> tuple:
        """Outputs in order; those that are not named stay as they are."""
        return tuple(changes.get(name, gr.skip()) for name in RESULTS)
