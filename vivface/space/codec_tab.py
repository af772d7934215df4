"""The tab of the codec: encode a clip, see what it costs, decode it, let it move the portrait."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from vivface.errors import VivFaceError
from vivface.reenactment.coded_video import CODED_SUFFIX
from vivface.space.components import ImageUpload
from vivface.space.jobs import Cancelled, Update
from vivface.space.options import check_value
from vivface.space.page import Page
from vivface.space.result_panel import PRIVATE, WAITING_RUNS, user_error, user_errors
from vivface.space.service import new_visitor
from vivface.space.text import error_line, note_line, progress_line, progress_words

HINT = (
    "The codec stores a talking head as one identity code and 35 numbers (70 bytes) per frame. Encode a clip, watch "
    "the decoded one, and let it move your portrait."
)
BASIS_WORDS = {
    "components": "components of motion (fast)",
    "channels": "channels of StyleSpace, as published (slow)",
    "points": "points of a key picture (fast, most like the person)",
}
RESULTS = ("status", "video", "coded", "encode", "decode", "puppeteer", "stop")


def add_codec(page: Page) -> None:
    """Fill the tab of the codec and add the endpoints, where it is offered; for use inside the page's `gr.Blocks`."""
    if page.service.codec is not None:
        with page.codec_tab:
            CodecTab(page)
        CodecEndpoints(page)


class CodecTab:
    """Components and events; must be made inside a tab of the page.

    Args:
        page (`Page`): Its portrait, consent and visitor are used.
    """

    def __init__(self, page: Page):
        self.page, self.service = page, page.service
        gr.HTML(note_line(HINT))
        with gr.Row():
            with gr.Column(min_width=280):
                self.clip = gr.Video(label="Clip", sources=["upload", "webcam"], include_audio=True, elem_id="clip")
                bases = self.service.bases
                self.basis = gr.Radio(
                    [(BASIS_WORDS[name], name) for name in bases],
                    value=bases[0],
                    label="What the numbers move",
                    elem_id="basis",
                )
                self.key_picture = gr.Checkbox(
                    False,
                    label="Keep a key picture",
                    info="A picture of the face, 3 to 5 kB once, which decoding moves; points need it.",
                    elem_id="key-picture",
                )
                self.encode = gr.Button("Encode", variant="primary", elem_id="encode")
                self.coded = gr.File(label="Coded video", file_types=[CODED_SUFFIX], height=140, elem_id="coded")
                with gr.Row():
                    self.decode = gr.Button("Decode", elem_id="decode")
                    self.puppeteer = gr.Button("Move the portrait", elem_id="puppeteer")
                    self.stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop-codec")
            with gr.Column(min_width=280):
                self.status = gr.HTML(elem_id="codec-status", elem_classes="note")
                self.video = gr.Video(
                    label="Decoded", interactive=False, elem_id="decoded", height=380, buttons=["download"]
                )
        self._connect()

    def _connect(self) -> None:
        page, outputs = self.page, [getattr(self, name) for name in RESULTS]
        shown = dict(
            concurrency_limit=WAITING_RUNS,
            concurrency_id="render",
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=self.status,
            **PRIVATE,
        )
        runs = [
            self.encode.click(self._encode, [page.visitor, self.clip, self.basis, self.key_picture], outputs, **shown),
            self.decode.click(self._decode, [page.visitor, self.coded], outputs, **shown),
            self.puppeteer.click(
                self._puppeteer,
                [page.visitor, self.coded, page.portrait, page.consent, page.options["face"]],
                outputs,
                **shown,
            ),
        ]
        self.stop.click(self._stop, [page.visitor], outputs, queue=False, show_progress="hidden", **PRIVATE)
        self.stop.click(None, cancels=runs)

    def _encode(self, visitor: str, clip: str | None, basis: str, key_picture: bool) -> Iterator[tuple]:
        yield from self._shown(lambda: self.service.encode_clip(visitor, clip, basis, key_picture))

    def _decode(self, visitor: str, coded: str | None) -> Iterator[tuple]:
        yield from self._shown(lambda: self.service.decode_video(visitor, coded))

    def _puppeteer(
        self, visitor: str, coded: str | None, portrait: str | None, consent: bool, face: Any
    ) -> Iterator[tuple]:
        def work() -> Iterator[Update]:
            admitted = self.service.admit(portrait, consent)
            return self.service.decode_video(visitor, coded, admitted, check_value("face", face))

        yield from self._shown(work)

    def _shown(self, work) -> Iterator[tuple]:
        try:
            yield _changed(status=progress_line(Update("Starting")), video=None, **_buttons(running=True))
            for update in work():
                if update.result is None:
                    yield _changed(status=progress_line(update))
                    continue
                made = update.result
                changes = {} if made.coded is None else {"coded": str(made.coded)}
                words = f'<p class="stats">{escape(made.words)}</p>'
                yield _changed(status=words, video=str(made.video), **changes, **_buttons(running=False))
        except Cancelled:
            yield _changed(status=note_line("Stopped."), **_buttons(running=False))
        except VivFaceError as error:
            yield _changed(status=error_line(str(error)), **_buttons(running=False))
            raise user_error(error) from error

    def _stop(self, visitor: str) -> tuple:
        self.service.stop(visitor)
        return _changed(status=note_line("Stopped."), **_buttons(running=False))


class CodecEndpoints:
    """The same for programs; must be made inside the page's `gr.Blocks`.

    Args:
        page (`Page`): Whose service and visitor are used.
    """

    def __init__(self, page: Page):
        self.service = page.service
        with gr.Row(visible=False):
            clip, portrait = gr.Video(label="clip"), ImageUpload(label="portrait")
            coded = gr.File(label="coded", file_types=[CODED_SUFFIX])
            basis, consent = gr.Textbox(self.service.bases[0], label="basis"), gr.Checkbox(False, label="consent")
            key_picture = gr.Checkbox(False, label="key_picture")
            file, video, words, call = gr.File(), gr.Video(), gr.Textbox(), gr.Button()
        limits = dict(concurrency_limit=WAITING_RUNS, concurrency_id="render", api_visibility="public")
        inputs = [clip, basis, key_picture, page.visitor]
        call.click(self.encode_clip, inputs, [file, video, words], api_name="encode_clip", **limits)
        inputs = [coded, portrait, consent, page.visitor]
        call.click(self.decode_video, inputs, [video, words], api_name="decode_video", **limits)

    def encode_clip(
        self, clip: str, basis: str = "components", key_picture: bool = False, visitor: str = ""
    ) -> Iterator[tuple]:
        """Encode a clip as one identity latent and 35 numbers a frame, and decode it again.

        Args:
            clip: A video with a face.
            basis: What 32 of the numbers move: 'components' of motion, 'channels' of StyleSpace, or 'points' of a
                picture that is sent once.
            key_picture: True to keep a picture of the face too, some kilobytes once, which decoding moves.

        Returns:
            The coded video (.vfc), the decoded one, and a line with what it costs.
        """
        with user_errors():
            for update in self.service.encode_clip(visitor or new_visitor(), clip, basis, key_picture):
                if update.result is None:
                    yield None, None, progress_words(update)
                    continue
                yield str(update.result.coded), str(update.result.video), update.result.words

    def decode_video(
        self, coded: str, portrait: str | None = None, consent: bool = False, visitor: str = ""
    ) -> Iterator[tuple]:
        """Decode a coded video, or let it move another person.

        Args:
            coded: A coded video (.vfc).
            portrait: An image with a face, if somebody else is to move.
            consent: True if the person in the portrait agreed, or you have the right to use the image.

        Returns:
            The video, and a line with what it costs.
        """
        with user_errors():
            admitted = None if portrait is None else self.service.admit(portrait, consent)
            for update in self.service.decode_video(visitor or new_visitor(), coded, admitted):
                if update.result is None:
                    yield None, progress_words(update)
                    continue
                yield str(update.result.video), update.result.words


def _buttons(running: bool) -> dict[str, gr.Button]:
    idle = {name: gr.Button(interactive=not running) for name in ("encode", "decode", "puppeteer")}
    return idle | {"stop": gr.Button(interactive=running)}


def _changed(**changes: Any) -> tuple:
    """Outputs of a run, in order; those that are not named stay as they are."""
    return tuple(changes.get(name, gr.skip()) for name in RESULTS)
