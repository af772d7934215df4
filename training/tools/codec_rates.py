"""Rate and distortion of the codec: `python -m training.tools.codec_rates CLIP ... -o FOLDER`.

Every clip is cut once, as the codec cuts it: upright, registered crops of the generator's size. These pictures are what
is coded, in turn, by

- the 35-number codec with both bases;
- the same identity latent with all motion codes in half precision;
- H.264 (x264) and AV1 (SVT-AV1), at the codec's own 70 bytes a frame and at other rates, with their slowest presets
  that are bearable; what they need once (headers, first frame) counts, while the codec's header is stated apart;
- the same of the clip as it is, whole and at its own size, at 70 bytes a frame, cut into the same crops afterwards:
  what somebody gets who has no codec for faces.

Scores, on every nth frame: PSNR, SSIM; landmark error, the mean distance of 68 landmarks to those of the true picture
per distance of the outer eye corners, in percent; identity, the distance of dlib's face descriptors (a network that no
part of the codec has seen); missing, the share of pictures in which no face is found any more. FOLDER gets
`rates.json`, `rates.md` and `rates.png`; a stopped run goes on there.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import statistics
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import BackendError, OptionError
from vivface.faces.alignment import crop_quad
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import Face
from vivface.files import complete_file
from vivface.media.tensors import to_images, to_tensor
from vivface.media.video import VideoReader
from vivface.metrics.average import needs
from vivface.metrics.psnr import psnr
from vivface.metrics.ssim import ssim
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.pipelines.encoding import PipelineCoder, WithBasis
from vivface.reenactment.coded_frames import CodecFrames
from vivface.runtime import choose_device

JUDGED_SIZE = 256  # pictures are enlarged to this before landmarks and descriptors are read
RATES = (70, 140, 280, 560)  # bytes a frame of H.264 and AV1
QUANTISERS = {"H.264": range(51, 9, -1), "AV1": range(63, 9, -1)}
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"
SCORES = ("PSNR", "SSIM", "landmark error", "identity", "missing")


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
    store = options.output / "rates.json"
    results = json.loads(store.read_text()) if store.is_file() else {}
    pipeline = ExpressiveCodecPipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    pipeline._evaluate()
    judge = Judge()
    for clip in options.clips:
        if not clip.is_file():
            raise OptionError(f"There is no clip '{clip}'.")
        rows = results.setdefault(clip.name, {})

        def keep(name: str, row: dict, rows=rows, clip=clip) -> None:
            rows[name] = row
            with complete_file(store) as temporary:
                temporary.write_text(json.dumps(results, indent=1))
            shown = ", ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"{clip.name}, {name}: {shown}", flush=True)

        measure(pipeline, judge, clip, options, rows, keep)
    table = markdown(results)
    (options.output / "rates.md").write_text(table)
    plot(results, options.output / "rates.png")
    print(table)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("codec_rates", __doc__)
    parser.add_argument("clips", nargs="+", type=Path, help="videos with one face")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--checkpoint", help="folder or Hub id; by default the bundled one")
    parser.add_argument("--frames", type=int, default=100, help="most frames of each clip")
    parser.add_argument("--every", type=int, default=4, help="score every so manieth frame")
    parser.add_argument("--steps", type=int, default=40, help="of the fit of channels")
    parser.add_argument(
        "--bases", nargs="+", default=["components", "channels"], help="which of the two, in this order"
    )
    add_device(parser)
    return parser.parse_args(arguments)


def measure(
    pipeline: ExpressiveCodecPipeline, judge: Judge, clip: Path, options: argparse.Namespace, rows: dict, keep
) -> None:
    """All ways of coding one clip; what is in `rows` already is left out."""
    reader = VideoReader(clip, max_frames=options.frames)
    frames = list(CodecFrames(reader, pipeline.backend, pipeline.output_size))
    seen, places = [frame for frame in frames if frame.crop is not None], [frame.quad for frame in frames]
    pictures, fps = [frame.crop for frame in seen], reader.fps
    chosen = list(range(0, len(pictures), options.every))
    judge.learn([pictures[number] for number in chosen])

    def score(name: str, made: Sequence[np.ndarray], size: float, header: float = 0.0, **more: float) -> None:
        row = judge.score([made[number] for number in chosen])
        keep(name, {"bytes a frame": size, "bytes a second": size * float(fps), "header": header, **row, **more})

    identity = None
    bases = options.bases
    for basis in bases:
        if all(name in rows for name in (*bases[bases.index(basis) :], "motion codes")):
            continue  # components give the identity latent of all others
        began = time.process_time()
        if basis in rows and identity is not None:
            continue
        steps = options.steps if basis == "channels" else None
        coded = pipeline.encode(clip, basis=basis, identity=identity, max_frames=options.frames, steps=steps)
        spent = time.process_time() - began
        identity, numbers = coded.identity, coded.frames.float().to(pipeline.device)
        numbers[:, 2] = 0.0  # upright, as the pictures are
        numbers = numbers[[n for n in range(len(numbers)) if n not in coded.missing]]
        code = pipeline.identity_of(coded)
        decoder = WithBasis(pipeline, basis)
        began = time.process_time()
        made = np.concatenate([to_images(decoder.generate(code, part)) for part in numbers.split(8)])
        rate = len(made) / (time.process_time() - began)
        if basis not in rows:
            cost = {"CPU seconds a frame": spent / len(made), "frames a CPU second": rate}
            score(basis, made, coded.bytes_per_frame, coded.header_bytes, **cost)
        if basis == "components" and "motion codes" not in rows:
            made, size = all_motion_codes(pipeline, code.w_plus, seen)
            score("motion codes", made, size, 2 * identity.numel())
    for codec in QUANTISERS:
        wanted = [rate for rate in RATES if f"{codec} {rate}" not in rows]
        for rate, (made, size) in coded_at(codec, pictures, fps, wanted).items():
            score(f"{codec} {rate}", made, size)
        if (name := f"{codec} of the clip") not in rows:
            whole = [frame.image for frame in VideoReader(clip, max_frames=options.frames)]
            made, size = coded_at(codec, whole, fps, RATES[:1])[RATES[0]]
            numbers = [number for number, place in enumerate(places) if place is not None]
            cut = [crop_quad(made[number], places[number], pipeline.output_size) for number in numbers]
            score(name, cut, size)


@torch.no_grad()
def all_motion_codes(pipeline: ExpressiveCodecPipeline, w_plus: torch.Tensor, seen: list) -> tuple[np.ndarray, int]:
    """Pictures of the identity latent with all numbers of the deformation in half precision, and bytes a frame.

    The deformation is that of the person whose memory the first frame shows.
    """
    coder, made, memory = PipelineCoder(pipeline, pipeline.basis("components")), [], None
    for start in range(0, len(seen), 8):
        images = coder.faces([frame.crop for frame in seen[start : start + 8]])
        read = coder.invert(images, w_plus, memory, show=False)
        memory = read.memory[:1] if memory is None and read.memory is not None else memory
        if start == 0:
            read = coder.invert(images, w_plus, memory, show=False)
        codes = read.deformation.half().float()
        made.append(to_images(pipeline.generator(w_plus.expand(len(codes), -1, -1), codes)))
    return np.concatenate(made), 2 * read.deformation[0].numel()


def coded_at(
    codec: str, pictures: Sequence[np.ndarray], fps: Fraction, rates: Sequence[int]
) -> dict[int, tuple[list[np.ndarray], float]]:
    """Pictures as a video codec gives them back at rates, and its real bytes a frame.

    The best constant quality whose packets do not exceed the rate, found by halving; its lowest quality where even
    that is larger.
    """
    found, tried = {}, {}

    def at(quality: int) -> tuple[list[np.ndarray], float]:
        if quality not in tried:
            tried[quality] = through(codec, pictures, fps, quality)
        return tried[quality]

    levels = list(QUANTISERS[codec])  # worst first
    for rate in rates:
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if at(levels[middle])[1] <= rate else (low, middle - 1)
        found[rate] = at(levels[low])
    return found


def through(codec: str, pictures: Sequence[np.ndarray], fps: Fraction, quality: int) -> tuple[list[np.ndarray], float]:
    """Encode and decode at a constant quality."""
    name, settings = {
        "H.264": ("libx264", {"preset": "veryslow", "crf": str(quality)}),
        "AV1": ("libsvtav1", {"preset": "4", "crf": str(quality), "svtav1-params": "lp=1"}),
    }[codec]
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    height, width = pictures[0].shape[0] // 2 * 2, pictures[0].shape[1] // 2 * 2
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream(name, rate=fps, options=settings)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 10_000  # one key frame
        size = 0
        for picture in [*pictures, None]:
            cut = None if picture is None else np.ascontiguousarray(picture[:height, :width])
            frame = None if cut is None else av.VideoFrame.from_ndarray(cut, format="rgb24")
            for packet in stream.encode(frame):
                size += packet.size
                output.mux(packet)
    buffer.seek(0)
    with av.open(buffer) as container:
        made = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return made, size / len(pictures)


class Judge:
    """Scores pictures against true ones: landmarks by the package's detector, identity by dlib's descriptor."""

    def __init__(self) -> None:
        dlib, found = needs("dlib"), importlib.util.find_spec("face_recognition_models")  # importing it needs more
        if found is None:
            raise BackendError("Identity is judged by dlib's descriptor: pip install face_recognition_models.")
        models = Path(found.origin).parent / "models"
        self._backend = get_backend("mesh")
        self._rectangle = dlib.rectangle
        self._shape = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
        self._describe = dlib.face_recognition_model_v1(str(models / DESCRIPTOR))

    def learn(self, pictures: Sequence[np.ndarray]) -> None:
        """Take the true pictures."""
        self._true = pictures
        self._faces: list[Face | None] = []
        for picture in pictures:
            large = _large(picture)
            face = next(iter(self._backend.detect(large, effort="high")), None)
            face = face and (self._backend.refine(large, face) or face)
            self._faces.append(face)
        pairs = zip(pictures, self._faces, strict=True)
        self._descriptors = [None if face is None else self._descriptor(p, face) for p, face in pairs]

    def score(self, pictures: Sequence[np.ndarray]) -> dict[str, float]:
        """Scores of pictures in the order of the true ones."""
        made, true = to_tensor(pictures), to_tensor(self._true)
        errors, distances, gone = [], [], 0
        for picture, face, descriptor in zip(pictures, self._faces, self._descriptors, strict=True):
            if face is None:
                continue
            found = self._backend.refine(_large(picture), face)
            distances.append(float(np.linalg.norm(self._descriptor(picture, face) - descriptor)))
            if found is None:
                gone += 1
                continue
            eyes = np.linalg.norm(face.landmarks[45] - face.landmarks[36])
            errors.append(100 * float(np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() / eyes))
        return {
            "PSNR": float(psnr(made, true).mean()),
            "SSIM": float(ssim(made, true).mean()),
            "landmark error": statistics.fmean(errors) if errors else float("nan"),
            "identity": statistics.fmean(distances),
            "missing": gone / max(len(distances), 1),
        }

    def _descriptor(self, picture: np.ndarray, face: Face) -> np.ndarray:
        x0, y0, x1, y1 = (int(round(float(number))) for number in face.box)
        large = _large(picture)
        shape = self._shape(large, self._rectangle(x0, y0, x1, y1))
        return np.array(self._describe.compute_face_descriptor(large, shape))


def _large(picture: np.ndarray) -> np.ndarray:
    if picture.shape[0] >= JUDGED_SIZE:
        return picture
    return cv2.resize(picture, (JUDGED_SIZE, JUDGED_SIZE), interpolation=cv2.INTER_CUBIC)


def averaged(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over the clips, by way of coding."""
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    means = {}
    for name in names:
        rows = [rows[name] for rows in results.values() if name in rows]
        means[name] = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    return means


def markdown(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table: means over the clips."""
    lines = [
        "| coded as | bytes a frame | bytes a second | once | PSNR ↑ | SSIM ↑ | landmark error, % ↓ | identity ↓ "
        "| missing ↓ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in averaged(results).items():
        lines.append(
            f"| {name} | {row['bytes a frame']:.0f} | {row['bytes a second']:.0f} | {row['header']:.0f} "
            f"| {row['PSNR']:.2f} | {row['SSIM']:.3f} | {row['landmark error']:.2f} | {row['identity']:.3f} "
            f"| {row['missing']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Curves of the video codecs and points of the codec, one panel a score."""
    plots = needs("matplotlib.pyplot")
    means = averaged(results)
    figure, axes = plots.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for axis, score in zip(axes, SCORES[:4], strict=True):
        for codec in QUANTISERS:
            named = [row for name, row in means.items() if name.startswith(codec) and "clip" not in name]
            points = [(row["bytes a second"], row[score]) for row in named]
            axis.plot(*zip(*sorted(points), strict=True), marker=".", label=codec)
        for name, marker in (("channels", "s"), ("components", "o"), ("motion codes", "^")):
            if name in means:
                axis.plot(means[name]["bytes a second"], means[name][score], marker, label=name)
        axis.set(xscale="log", xlabel="bytes a second", title=score + {"landmark error": ", %"}.get(score, ""))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)
    plots.close(figure)


if __name__ == "__main__":
    run_program(main)
