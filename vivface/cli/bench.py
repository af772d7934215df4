"""How fast this machine re-enacts: `python -m vivface.cli.bench`.

Prints milliseconds a frame of every part, each alone, and frames per second end to end, where decoding, computing and
encoding overlap. Beside them: the work of each network and what the machine's convolutions can do at best.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from vivface.errors import MediaError, VivFaceError
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.paste import PasteBack
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker
from vivface.media.video import VideoReader
from vivface.media.writer import VideoWriter
from vivface.models.encoder import HybridEncoder
from vivface.models.refinement import RefinementNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.vivface import VivFacePipeline
from vivface.runtime import keep_freed_memory

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
REFERENCE = (
    "The reference implementation of ViVFace takes about 15 s a frame at 1024 x 1024 on two quiet cores of a server "
    "CPU, half of it in the 4 x 4 blur."
)


@dataclass
class Part:
    """One part's cost: milliseconds a frame, and GFLOP a frame where it is a network."""

    name: str
    milliseconds: float
    gflop: float | None = None


@dataclass
class Benchmark:
    """What was measured."""

    checkpoint: str
    size: int
    device: str
    threads: int
    batch_size: int
    frames: int
    convolution_gflop_per_second: float
    parts: list[Part]
    seconds_per_frame: float
    frames_per_second: float
    seconds_to_start: float


def benchmark(
    pipeline: VivFacePipeline, source: Path, driving: Path, frames: int, refine: bool, paste_back: bool, name: str
) -> Benchmark:
    """Measure a pipeline on a portrait and a driving video.

    Args:
        pipeline (`VivFacePipeline`): on its device.
        source, driving (`Path`): a portrait and a video with at least `frames` frames.
        frames (`int`): how many frames to average over.
        refine, paste_back (`bool`): what to include.
        name (`str`): of the checkpoint, for the report.
    """
    pipeline.set_progress_bar_config(disable=True)
    reader = VideoReader(driving)
    images = [frame.image for frame in islice(reader, frames)]
    frames = len(images)
    batch_size = pipeline.default_batch_size
    parts = _face_parts(pipeline, images, reader.fps)

    identity, seconds_to_start = _timed(pipeline, lambda: pipeline.encode_identity(source))
    parts += _network_parts(pipeline, identity, images, batch_size, refine)

    # End to end, as users run it
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        result = pipeline(
            identity, driving, refine=refine, paste_back=paste_back, duration=Fraction(frames) / reader.fps
        )
        _, seconds = _timed(pipeline, lambda: result.save(output))
        parts += _output_parts(pipeline, identity, output, paste_back)
    done = result.report.frames
    return Benchmark(
        checkpoint=name,
        size=pipeline.generator.config.size,
        device=str(pipeline.device),
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        frames=done,
        convolution_gflop_per_second=convolution_rate(pipeline.device),
        parts=parts,
        seconds_per_frame=seconds / done,
        frames_per_second=done / seconds,
        seconds_to_start=seconds_to_start,
    )


@torch.no_grad()
def convolution_rate(device: torch.device | str = "cpu", seconds: float = 1.5) -> float:
    """GFLOP a second of a wide 3 x 3 convolution in float32, the best that the networks could reach."""
    device = torch.device(device)
    x = torch.randn(4, 256, 64, 64, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, device=device).to(memory_format=torch.channels_last)
    flop = 2 * x[:, :1].numel() * weight.numel()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        _synchronize(device)
        began = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        _synchronize(device)
        best = min(best, time.perf_counter() - began)
    return flop / best / 1e9


def random_ffhq_1024() -> VivFacePipeline:
    """The published size with random weights: as fast as the trained one."""
    return VivFacePipeline(StyleGAN2Generator(), HybridEncoder(), DeformationTransformer(), RefinementNetwork())


# Parts ---------------------------------------------------------------------------------------------------------------


def _face_parts(pipeline: VivFacePipeline, images: list[np.ndarray], fps: Fraction) -> list[Part]:
    tracker = FaceTracker(pipeline.backend)
    first, detect = _timed(pipeline, lambda: tracker.update(images[0]))
    if not first.found:
        raise MediaError("The first frame of the driving video shows no face: give a video that begins with one.")
    stabilizer = QuadStabilizer(pipeline.config.crop)
    track = crop = 0.0
    for number, image in enumerate(images):
        tracked, seconds = _timed(pipeline, lambda image=image: tracker.update(image))
        track += seconds
        quad = stabilizer.update(ffhq_quad(tracked.landmarks), float(number / fps))
        _, seconds = _timed(pipeline, lambda i=image, q=quad: crop_quad(i, q, pipeline.config.image_size))
        crop += seconds
    count = len(images)
    return [
        Part("find the face (once)", 1e3 * detect),
        Part("track the face", 1e3 * track / count),
        Part("crop", 1e3 * crop / count),
    ]


@torch.no_grad()
def _network_parts(pipeline: VivFacePipeline, identity, images, batch_size: int, refine: bool) -> list[Part]:
    rounds = max(1, len(images) // batch_size)
    size, generator = pipeline.config.image_size, identity.generator or pipeline.generator
    crops = torch.rand(batch_size, 3, size, size, device=pipeline.device, dtype=pipeline.encoder.dtype) * 2 - 1
    generic = pipeline.encoder(crops, identity=False, memory=False).motion
    deformation = pipeline.transformer(generic, identity.memory)
    styles = [style.expand(batch_size, -1) for style in identity.styles]
    styles = generator.add_motion(styles, deformation)

    calls: dict[str, Callable[[], object]] = {
        "encode motion (E)": lambda: pipeline.encoder(crops, identity=False, memory=False),
        "adapt motion (T)": lambda: pipeline.transformer(generic, identity.memory),
        "generate (G)": lambda: generator.synthesize(styles),
    }
    if refine and pipeline.refinement is not None:
        state = generator.synthesize(styles, stop_after=generator.refinement_layer)
        picture = F.interpolate(generator.synthesize(styles, resume=state), (size, size), mode="bilinear")
        reference = identity.reference.expand(batch_size, -1, -1, -1)
        calls["refine (R)"] = lambda: pipeline.refinement(picture, reference)
        calls["generate again, from R on"] = lambda: generator.synthesize(styles, resume=state)
    return [_network_part(pipeline, name, call, batch_size, rounds) for name, call in calls.items()]


def _network_part(pipeline: VivFacePipeline, name: str, call: Callable, batch_size: int, rounds: int) -> Part:
    with FlopCounterMode(display=False) as counter:  # also warms up
        call()
    _, seconds = _timed(pipeline, lambda: [call() for _ in range(rounds)])
    frames = rounds * batch_size
    return Part(name, 1e3 * seconds / frames, counter.get_total_flops() / batch_size / 1e9)


def _output_parts(pipeline: VivFacePipeline, identity, result: Path, paste_back: bool) -> list[Part]:
    parts = []
    reader = VideoReader(result)
    frames = list(islice(reader, 48))
    if paste_back:
        side = pipeline.generator.config.size
        paste, picture = PasteBack(identity.photo, identity.quad, side), crop_quad(identity.photo, identity.quad, side)
        _, seconds = _timed(pipeline, lambda: [paste(picture) for _ in frames])
        parts.append(Part("paste back", 1e3 * seconds / len(frames)))

    def encode() -> None:
        with VideoWriter(result.with_name("again.mp4"), reader.size, reader.fps, reader.time_base) as writer:
            for frame in frames:
                writer.write(frame.image, frame.time)

    _, seconds = _timed(pipeline, encode)
    return [*parts, Part("encode the video", 1e3 * seconds / len(frames))]


def _timed(pipeline: VivFacePipeline, call: Callable) -> tuple[object, float]:
    _synchronize(pipeline.device)
    began = time.perf_counter()
    value = call()
    _synchronize(pipeline.device)
    return value, time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# Report --------------------------------------------------------------------------------------------------------------


def report(result: Benchmark) -> Table:
    """A table of the parts."""
    table = Table(title=f"{result.checkpoint}: {result.size} x {result.size}, {result.device}")
    for column in ("part", "ms a frame", "GFLOP a frame", "ms at the convolution rate"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in result.parts:
        at_best = part.gflop and part.gflop / result.convolution_gflop_per_second * 1e3
        numbers = [f"{part.milliseconds:.1f}"] + [f"{x:.1f}" if x is not None else "" for x in (part.gflop, at_best)]
        table.add_row(part.name, *numbers)
    return table


def run(
    size: Annotated[
        Literal["bundled", "ffhq-1024"],
        typer.Option(help="The bundled checkpoint, or the published size with random weights."),
    ] = "bundled",
    checkpoint: Annotated[str | None, typer.Option(help="Folder or Hub id of another checkpoint.")] = None,
    source: Annotated[Path, typer.Option(help="A portrait.")] = EXAMPLES / "portrait.png",
    driving: Annotated[Path, typer.Option(help="A driving video.")] = EXAMPLES / "driving.mp4",
    frames: Annotated[int | None, typer.Option(min=1, help="How many; by default 96, or 4 at ffhq-1024.")] = None,
    refine: Annotated[bool, typer.Option(help="With the second stage.")] = True,
    paste_back: Annotated[bool, typer.Option(help="With the whole photo.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all cores.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
) -> None:
    """Measure frames per second, end to end and per part."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
    if checkpoint is None and size == "ffhq-1024":
        pipeline, name, frames = random_ffhq_1024(), "ffhq-1024, random weights", frames or 4
    else:
        pipeline, name, frames = VivFacePipeline.from_pretrained(checkpoint), checkpoint or "bundled", frames or 96
    result = benchmark(pipeline.to(device), source, driving, frames, refine, paste_back, name)
    console = Console(highlight=False)
    console.print(report(result))
    console.print(
        f"End to end: {result.frames_per_second:.2f} frames per second, {result.seconds_per_frame:.3f} s a frame "
        f"({result.frames} frames in batches of {result.batch_size}, {result.threads} threads); "
        f"{result.seconds_to_start:.1f} s to read the portrait first.\n"
        f"This machine's 3 x 3 convolutions: {result.convolution_gflop_per_second:.0f} GFLOP/s.\n{REFERENCE}"
    )
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_freed_memory()
    try:
        typer.run(run)
    except VivFaceError as error:
        raise SystemExit(f"Error: {error}") from error
