"""Rate and distortion of the codec: `python -m training.tools.codec_rates CLIP ... --people 5 -o FOLDER`.

Clips are files, and renders of held-out people with `--people`. Each is coded once by the 35-number codec, with the
bases that are asked for, and judged in two settings:

- crops: upright, registered crops of the generator's size, as the codec cuts them. The same crops are coded by H.264
  (x264) and AV1 (SVT-AV1), at the codec's own 70 bytes a frame and at other rates, with their slowest presets that are
  bearable; and with all motion codes of the same identity latent in half precision.
- clips: the clip as it is, at its own size, as somebody would send it. The codec sends 78 bytes a frame, as the crop
  track belongs to it; video codecs get the whole picture, at its own size or at a half or a quarter of it, whichever
  shows it best at that rate. All are judged in the same square around the face, cut from the clip at 256 pixels.

"key picture" is the basis that comes first, decoded by moving a picture of one frame that is sent once.

What video codecs need once (headers, first frame) counts, while the codec's header is stated apart.

Scores, on every nth frame: PSNR, SSIM; landmark error, the mean distance of 68 landmarks to those of the true picture
per distance of the outer eye corners, in percent; identity, the distance of dlib's face descriptors (a network that no
part of the codec has seen); missing, the share of pictures in which no face is found any more. FOLDER gets
`rates.json`, `rates.md` and `rates.png`; a stopped run goes on there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.evaluation.face_judge import JUDGED_SIZE, Judge
from training.evaluation.pairs import render_people
from training.evaluation.rate_tables import Results, averaged, markdown, plot, wins
from training.evaluation.video_codecs import QUANTISERS, best_scale_at, coded_at
from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad
from vivface.files import complete_file
from vivface.media.tensors import to_images
from vivface.media.video import VideoReader
from vivface.metrics.average import needs
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.pipelines.encoding import PipelineCoder, WithBasis
from vivface.reenactment.coded_frames import CodecFrames
from vivface.reenactment.coded_video import BYTES_PER_FRAME, POINTS, CodedVideo
from vivface.reenactment.rendering import resized
from vivface.runtime import choose_device

CROPS, CLIPS = "crops", "clips"
KEY = "key picture"
RATES = (70, 140, 280)  # bytes a frame of H.264 and AV1
CROP_TRACK = 8  # more bytes a frame
CLIP_RATES = (BYTES_PER_FRAME + CROP_TRACK, 156)  # the same for whole clips
FIRST_SEED = 950_501  # held-out people
Keep = Callable[[str, str, dict], None]  # setting, way of coding, row


def main(arguments: list[str] | None = None) -> None:
    """Code, score, and write.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no clips.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    for module in ("torchmetrics", "matplotlib"):
        needs(module)
    options.output.mkdir(parents=True, exist_ok=True)
    clips = collect_clips(options)
    store = options.output / "rates.json"
    results = json.loads(store.read_text()) if store.is_file() else {CROPS: {}, CLIPS: {}}
    pipeline = ExpressiveCodecPipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    pipeline._evaluate()
    judge = Judge()
    for clip in clips:

        def keep(setting: str, name: str, row: dict, clip=clip) -> None:
            results[setting].setdefault(clip.stem, {})[name] = row
            with complete_file(store) as temporary:
                temporary.write_text(json.dumps(results, indent=1))
            shown = ", ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"{clip.stem}, {setting}, {name}: {shown}", flush=True)

        ClipMeasurement(pipeline, judge, clip, options, results, keep).run()
        report(results, options.output)
    print(report(results, options.output))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("codec_rates", __doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="videos with one face")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--checkpoint", help="folder or Hub id; by default the bundled one")
    parser.add_argument("--people", type=int, default=0, help="so many rendered clips of held-out people as well")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of these people")
    parser.add_argument("--size", type=int, default=512, help="of their clips, pixels")
    parser.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    parser.add_argument("--frames", type=int, default=100, help="most frames of each clip")
    parser.add_argument("--every", type=int, default=4, help="score every so manieth frame")
    parser.add_argument("--steps", type=int, default=40, help="of the fit of channels")
    parser.add_argument("--settings", nargs="+", choices=(CROPS, CLIPS), default=[CROPS, CLIPS], help="what is judged")
    parser.add_argument(
        "--bases",
        nargs="+",
        default=["components", "channels"],
        help="which of channels, components, points, in this order",
    )
    add_device(parser)
    return parser.parse_args(arguments)


def collect_clips(options: argparse.Namespace) -> list[Path]:
    """Files, then rendered people.

    Raises:
        OptionError: If there is none, or a file is missing.
    """
    for clip in options.clips:
        if not clip.is_file():
            raise OptionError(f"There is no clip '{clip}'.")
    people = []
    if options.people:
        folder = options.output / "people"
        files = render_people(
            folder, options.people, options.frames, 25, options.size, options.assets, options.first_seed
        )
        people = [clip for _, clip in files]
    if not options.clips + people:
        raise OptionError("There is nothing to code: give clips, --people 5, or both.")
    return list(dict.fromkeys(options.clips + people))


def report(results: dict[str, Results], folder: Path) -> str:
    """Write tables and plot of what is there."""
    parts = []
    for setting, clips in results.items():
        if clips:
            parts.append(f"## {setting}\n\n{markdown(clips)}")
            rate = RATES[0] if setting == CROPS else CLIP_RATES[0]
            parts += [
                wins(clips, name, rate) for name in ("components", KEY, "channels", POINTS) if name in averaged(clips)
            ]
    text = "\n".join(parts)
    (folder / "rates.md").write_text(text)
    plot({setting: clips for setting, clips in results.items() if clips}, folder / "rates.png")
    return text


class ClipMeasurement:
    """All ways of coding one clip; what is in `results` already is left out.

    Args:
        pipeline (`ExpressiveCodecPipeline`): The codec.
        judge (`Judge`): Scores pictures.
        clip (`Path`): The clip.
        options (`argparse.Namespace`): Of the command line.
        results (dict): Setting -> clip -> way of coding -> row.
        keep (callable): Takes a new row.
    """

    def __init__(
        self,
        pipeline: ExpressiveCodecPipeline,
        judge: Judge,
        clip: Path,
        options: argparse.Namespace,
        results: dict[str, dict],
        keep: Keep,
    ):
        self._pipeline, self._judge, self._clip, self._options, self._keep = pipeline, judge, clip, options, keep
        self._rows = {setting: results[setting].get(clip.stem, {}) for setting in results}
        reader = VideoReader(clip, max_frames=options.frames)
        frames = list(CodecFrames(reader, pipeline.backend, pipeline.output_size))
        self._fps = reader.fps
        self._seen = [number for number, frame in enumerate(frames) if frame.crop is not None]
        self._crops = [frames[number].crop for number in self._seen]
        self._quads = [frames[number].quad for number in self._seen]
        self._whole = [frame.image for frame in VideoReader(clip, max_frames=options.frames)]
        self._judged = list(range(0, len(self._seen), options.every))

    def run(self) -> None:
        """Code with everything, then judge one setting after the other."""
        made = self._by_codec()
        for setting in self._options.settings:
            rows, rates = self._rows[setting], RATES if setting == CROPS else CLIP_RATES
            if not made and all(f"{codec} {rate}" in rows for codec in QUANTISERS for rate in rates):
                continue
            self._judge.learn(self._true(setting))
            for name, (pictures, size, more) in made.items():
                if name not in rows:
                    extra = CROP_TRACK if setting == CLIPS else 0
                    self._score(setting, name, self._sized(setting, pictures), size + extra, **more)
            self._by_video_codecs(setting)

    def _by_codec(self) -> dict[str, tuple[Sequence[np.ndarray], float, dict[str, float]]]:
        """Crops that the codec shows, bytes a frame, and what else a row holds, by way of coding."""
        found: dict[str, tuple[Sequence[np.ndarray], float, dict[str, float]]] = {}
        identity, options = None, self._options
        wanted = [name for name in (*options.bases, KEY, "motion codes") if self._is_missing(name)]
        if not wanted:
            return found
        for basis in options.bases:
            if basis not in wanted and identity is None and basis != options.bases[0]:
                continue  # the first gives the identity latent of all others
            began = time.process_time()
            steps = options.steps if basis == "channels" else None
            coded = self._pipeline.encode(
                self._clip,
                basis=basis,
                identity=identity,
                max_frames=options.frames,
                steps=steps,
                key_picture=basis == options.bases[0],
            )
            spent = time.process_time() - began
            coded.frames[:, 2] = 0.0  # upright, as the pictures are
            if basis == POINTS:
                made, size, more = self._with_key_picture(coded)
                found[basis] = made, size, more | {"CPU seconds a frame": spent / len(coded)}
                continue
            identity, numbers = coded.identity, coded.frames.float().to(self._pipeline.device)
            code, decoder = self._pipeline.identity_of(coded), WithBasis(self._pipeline, basis)
            began = time.process_time()
            made = np.concatenate([to_images(decoder.generate(code, part)) for part in numbers[self._seen].split(8)])
            rate = len(made) / (time.process_time() - began)
            cost = {"CPU seconds a frame": spent / len(made), "frames a CPU second": rate}
            header = replace(coded, key=None).header_bytes
            found[basis] = made, coded.bytes_per_frame, {"header": header, **cost}
            if basis == options.bases[0] and KEY in wanted:
                found[KEY] = self._with_key_picture(coded)
            if basis == options.bases[0]:
                made, size = all_motion_codes(self._pipeline, code.w_plus, self._crops)
                found["motion codes"] = made, size, {"header": 2 * identity.numel()}
        return found

    def _with_key_picture(self, coded: CodedVideo) -> tuple[Sequence[np.ndarray], float, dict[str, float]]:
        """As `_by_codec`, decoded with the key picture."""
        began = time.process_time()
        made = list(self._pipeline.decode(coded, size=JUDGED_SIZE))
        rate = len(made) / (time.process_time() - began)
        pictures = [made[number] for number in self._seen]
        return pictures, coded.bytes_per_frame, {"header": coded.header_bytes, "frames a CPU second": rate}

    def _by_video_codecs(self, setting: str) -> None:
        """Rows of H.264 and AV1."""
        rates = RATES if setting == CROPS else CLIP_RATES
        for codec in QUANTISERS:
            left = [rate for rate in rates if f"{codec} {rate}" not in self._rows[setting]]
            if not left:
                continue
            if setting == CROPS:
                found = coded_at(codec, self._crops, self._fps, left)
            else:
                found = best_scale_at(codec, self._whole, self._fps, left)
            for rate, coded in found.items():
                pictures = coded.pictures
                if setting == CLIPS:
                    pictures = [
                        crop_quad(pictures[number], quad, JUDGED_SIZE)
                        for number, quad in zip(self._seen, self._quads, strict=True)
                    ]
                self._score(setting, f"{codec} {rate}", pictures, coded.size, scale=coded.scale)

    def _true(self, setting: str) -> list[np.ndarray]:
        """The judged pictures as they are."""
        if setting == CROPS:
            return [self._crops[number] for number in self._judged]
        return [crop_quad(self._whole[self._seen[n]], self._quads[n], JUDGED_SIZE) for n in self._judged]

    def _sized(self, setting: str, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Pictures of the face as large as the true ones."""
        size = self._pipeline.output_size if setting == CROPS else JUDGED_SIZE
        return [resized(picture, (size, size)) for picture in pictures]

    def _is_missing(self, name: str) -> bool:
        return any(name not in self._rows[setting] for setting in self._options.settings)

    def _score(
        self, setting: str, name: str, made: Sequence[np.ndarray], size: float, header: float = 0.0, **more: float
    ) -> None:
        scores = self._judge.score([made[number] for number in self._judged])
        costs = {"bytes a frame": size, "bytes a second": size * float(self._fps), "header": header}
        self._keep(setting, name, {**costs, **scores, **more})


@torch.no_grad()
def all_motion_codes(
    pipeline: ExpressiveCodecPipeline, w_plus: torch.Tensor, crops: Sequence[np.ndarray]
) -> tuple[np.ndarray, int]:
    """Pictures of the identity latent with all numbers of the deformation in half precision, and bytes a frame.

    The deformation is that of the person whose memory the first frame shows.
    """
    coder, made, memory = PipelineCoder(pipeline, pipeline.basis("components")), [], None
    for start in range(0, len(crops), 8):
        images = coder.faces(crops[start : start + 8])
        read = coder.invert(images, w_plus, memory, show=False)
        memory = read.memory[:1] if memory is None and read.memory is not None else memory
        if start == 0:
            read = coder.invert(images, w_plus, memory, show=False)
        codes = read.deformation.half().float()
        made.append(to_images(pipeline.generator(w_plus.expand(len(codes), -1, -1), codes)))
    return np.concatenate(made), 2 * read.deformation[0].numel()


if __name__ == "__main__":
    run_program(main)
