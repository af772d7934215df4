"""What a visitor has made since the page was opened: to be seen and downloaded again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from vivface.errors import MediaError
from vivface.media.images import save_image
from vivface.media.video import VideoReader
from vivface.provenance import Provenance, Stamp
from vivface.space.compare_view import Compared, CompareView
from vivface.space.components import PAGE_MARK
from vivface.space.result_panel import PRIVATE
from vivface.space.text import HISTORY_HINT, NO_LONGER_KEPT, error_line, note_line

LONGEST = 12  # results in the list; the oldest go first
THUMBNAIL = 320  # longer side in pixels
QUIET = dict(queue=False, show_progress="hidden", **PRIVATE)


@dataclass(frozen=True)
class Entry:
    """A result in the list.

    Attributes:
        run (`Compared`): What was made, of what, and how.
        thumbnail (`bytes`): A frame of it, as a JPEG file.
    """

    run: Compared
    thumbnail: bytes


class History:
    """Thumbnails with the choices in words; the chosen result is played again; must be made inside a `gr.Blocks`."""

    def __init__(self) -> None:
        self.entries = gr.State([])
        with gr.Accordion("Earlier results", open=False, visible=False, elem_id="history") as self.accordion:
            gr.HTML(note_line(HISTORY_HINT))
            self.gallery = gr.Gallery(
                label="Earlier results",
                show_label=False,
                columns=4,
                fit_columns=False,
                height="auto",
                object_fit="cover",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="history-list",
            )
            self.words = gr.HTML(elem_id="history-words", elem_classes="note")
            self.view = CompareView("Choose a result above to see it again.", elem_id="history-view")
            with gr.Row():
                self.download = gr.DownloadButton("Download video", visible=False, elem_id="history-download")
                self.save_motion = gr.DownloadButton("Download motion file", visible=False, elem_id="history-motion")
        shown = [self.words, self.view, self.download, self.save_motion]
        self.gallery.select(self._show, [self.entries], shown, **QUIET)

    def follow(self, runs: list[gr.events.Dependency], view: CompareView) -> None:
        """Remember what each of these runs has made, as their view shows it."""
        for run in runs:
            run.then(self._remember, [self.entries, view], [self.entries, self.gallery, self.accordion], **QUIET)

    def _remember(self, entries: list[Entry], run: Compared | None) -> Iterator[tuple]:
        if run is None:  # stopped, or not possible
            yield gr.skip(), gr.skip(), gr.skip()
            return
        entries = [Entry(run, thumbnail(run.result)), *entries][:LONGEST]
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            shown = []
            for number, entry in enumerate(entries):
                path = Path(folder) / f"{number}.jpg"
                path.write_bytes(entry.thumbnail)
                shown.append((str(path), f"{entry.run.title}: {entry.run.words}"))
            yield entries, shown, gr.Accordion(visible=True, label=f"Earlier results ({len(entries)})")

    def _show(self, entries: list[Entry], event: gr.SelectData) -> tuple[Any, ...]:
        hidden = gr.DownloadButton(value=None, visible=False)
        run = entries[event.index].run if event.index < len(entries) else None
        if run is None or not all(Path(path).is_file() for path in (run.source, run.result)):
            return error_line(NO_LONGER_KEPT), None, hidden, hidden
        motion = run.motion if run.motion is not None and Path(run.motion).is_file() else None
        return (
            note_line(f"{run.title}: {run.words}."),
            run,
            gr.DownloadButton(value=run.result, visible=True),
            gr.DownloadButton(value=motion, visible=motion is not None),
        )


def thumbnail(video: str) -> bytes:
    """A frame from the middle of a video made here, small, as a marked JPEG file."""
    with VideoReader(video) as reader:
        middle = (reader.duration or 0) / 2
    try:
        frame = _frame(video, middle)
    except MediaError:  # it is shorter than it declares
        frame = _frame(video, 0)
    image = Image.fromarray(frame)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stamp = Stamp(Provenance(manifest=False), PAGE_MARK)
    with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
        path = Path(folder) / "frame.jpg"
        save_image(path, stamp.picture(np.asarray(image)), stamp.finish)
        return path.read_bytes()


def _frame(video: str, seconds: Any) -> np.ndarray:
    with VideoReader(video, start=seconds) as reader:
        return next(iter(reader)).image
