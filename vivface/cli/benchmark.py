"""Measure how fast a pipeline re-enacts: each step alone, and end to end.

End to end, decoding, computing and encoding overlap, so the sum of the steps is no measure of it.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from vivface.errors import MediaError
from vivface.faces.alignment import crop_quad
from vivface.faces.paste import PasteBack
from vivface.faces.tracking import FaceTracker
from vivface.media.images import save_image
from vivface.media.tensors import to_images
from vivface.media.video import VideoReader
from vivface.media.writer import VideoWriter
from vivface.models.encoder import HybridEncoder
from vivface.models.refinement import RefinementNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.driving import SteadyCrop

FACE_SIZE = 300  # of generated inputs, pixels


@dataclass
class Timing:
    """What one step costs.

    Args:
        name (`str`): The step.
        milliseconds (`float`): Per frame, or per call of what runs once.
        gflop (`float`, *optional*): Work per frame of a network, in 10^9 floating-point operations.
    """

    name: str
    milliseconds: float
    gflop: float | None = None


@dataclass
class Benchmark:
    """What was measured.

    Args:
        checkpoint (`str`): What was loaded.
        size (`int`): Width and height of the generated images, pixels.
        device (`str`), threads (`int`), batch_size (`int`): What they were computed with.
        frames (`int`): How many were made.
        convolution_gflop_per_second (`float`): Rate of a wide convolution on the device, the most to hope for.
        timings (`list[Timing]`): The steps, each alone.
        seconds_per_frame (`float`), frames_per_second (`float`): End to end.
        seconds_to_start (`float`): To read the portrait, with its tuning.
    """

    checkpoint: str
    size: int
    device: str
    threads: int
    batch_size: int
    frames: int
    convolution_gflop_per_second: float
    timings: list[Timing]
    seconds_per_frame: float
    frames_per_second: float
    seconds_to_start: float


def benchmark(
    pipeline: ReenactmentPipeline, source: Path, driving: Path, frames: int, refine: bool, paste_back: bool, name: str
) -> Benchmark:
    """Measure a pipeline on a portrait and a driving video.

    Args:
        pipeline (`ReenactmentPipeline`): On its device. The networks are measured alone for `VivFacePipeline` only.
        source, driving (`Path`): A portrait, and a video with at least `frames` frames that begins with a face.
        frames (`int`): How many frames to average over.
        refine, paste_back (`bool`): What to include.
        name (`str`): Of the checkpoint, for the report.

    Returns:
        `Benchmark`: What was measured.

    Raises:
        MediaError: If an input cannot be read, or the video begins without a face.
    """
    pipeline.set_progress_bar_config(disable=True)
    reader = VideoReader(driving)
    images = [frame.image for frame in islice(reader, frames)]
    frames = len(images)
    batch_size = pipeline.default_batch_size
    timings = _face_timings(pipeline, images, reader.fps)

    identity, seconds_to_start = _timed(pipeline, lambda: pipeline.encode_identity(source))
    if isinstance(pipeline, VivFacePipeline):
        timings += _network_timings(pipeline, identity, frames, batch_size, refine)

    # End to end, as users run it
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        result = pipeline(
            identity, driving, refine=refine, paste_back=paste_back, duration=Fraction(frames) / reader.fps
        )
        _, seconds = _timed(pipeline, lambda: result.save(output))
        timings += _output_timings(pipeline, identity, output, paste_back)
    done = result.report.frames
    return Benchmark(
        checkpoint=name,
        size=pipeline.output_size,
        device=str(pipeline.device),
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        frames=done,
        convolution_gflop_per_second=convolution_rate(pipeline.device),
        timings=timings,
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


@torch.no_grad()
def write_inputs(folder: Path, frames: int) -> tuple[Path, Path]:
    """A portrait and a driving video of `frames` frames, made by the bundled generator: its mean face, moving about.

    Args:
        folder (`Path`): Where to write them.
        frames (`int`): Of the video, at 25 frames per second.

    Returns:
        `tuple[Path, Path]`: Portrait and video.
    """
    generator = VivFacePipeline.from_pretrained().generator
    mean = generator.latent_avg.expand(1, generator.num_latents, -1)
    face = cv2.resize(to_images(generator(mean))[0], (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC)
    portrait, video = folder / "portrait.png", folder / "driving.mp4"
    with VideoWriter(video, (640, 360), 25) as writer:
        for number in range(frames):
            image = np.full((360, 640, 3), 128, np.uint8)
            left = 170 + round(100 * math.sin(2 * math.pi * number / 50))
            image[30 : 30 + FACE_SIZE, left : left + FACE_SIZE] = face
            writer.write(image, Fraction(number, 25))
            if number == 0:
                save_image(portrait, image)
    return portrait, video


def random_ffhq_1024() -> VivFacePipeline:
    """The published size with random weights: as fast as the trained one."""
    return VivFacePipeline(StyleGAN2Generator(), HybridEncoder(), DeformationTransformer(), RefinementNetwork())


# Steps ---------------------------------------------------------------------------------------------------------------


def _face_timings(pipeline: ReenactmentPipeline, images: list[np.ndarray], fps: Fraction) -> list[Timing]:
    tracker = FaceTracker(pipeline.backend)
    first, detect = _timed(pipeline, lambda: tracker.update(images[0]))
    if not first.found:
        raise MediaError("The first frame of the driving video shows no face: give a video that begins with one.")
    cut = SteadyCrop(pipeline.motion_crop, pipeline.motion_size)
    track = crop = 0.0
    for number, image in enumerate(images):
        tracked, seconds = _timed(pipeline, lambda image=image: tracker.update(image))
        track += seconds
        _, seconds = _timed(pipeline, lambda i=image, t=tracked, n=number: cut(i, t, float(n / fps)))
        crop += seconds
    count = len(images)
    return [
        Timing("find the face (once)", 1e3 * detect),
        Timing("track the face", 1e3 * track / count),
        Timing("crop", 1e3 * crop / count),
    ]


@torch.no_grad()
def _network_timings(
    pipeline: VivFacePipeline, identity: IdentityCode, frames: int, batch_size: int, refine: bool
) -> list[Timing]:
    rounds = max(1, frames // batch_size)
    size, generator = pipeline.config.image_size, identity.generator or pipeline.generator
    crops = torch.rand(batch_size, 3, size, size, device=pipeline.device, dtype=pipeline.encoder.dtype) * 2 - 1
    generic = pipeline.encoder(crops, identity=False, memory=False).motion
    deformation = pipeline.transformer(generic, identity.memory)
    styles = [style.expand(batch_size, -1) for style in identity.styles]
    styles = generator.add_motion(styles, deformation)

    calls: dict[str, Callable[[], object]] = {
        "encode motion (E)": lambda: pipeline.encoder(crops, identity=False, memory=False),
        "adapt motion (T)": lambda: pipeline.transformer(generic, identity.memory),
        "generate (G)": lambda: generator(styles=styles),
    }
    if refine and pipeline.refinement is not None:
        state = generator(styles=styles, stop_after=generator.refinement_layer)
        image = F.interpolate(generator(styles=styles, resume=state), (size, size), mode="bilinear")
        reference = identity.reference.expand(batch_size, -1, -1, -1)
        calls["refine (R)"] = lambda: pipeline.refinement(image, reference)
        calls["generate again, from R on"] = lambda: generator(styles=styles, resume=state)
    return [_network_timing(pipeline, name, call, batch_size, rounds) for name, call in calls.items()]


def _network_timing(pipeline: ReenactmentPipeline, name: str, call: Callable, batch_size: int, rounds: int) -> Timing:
    with FlopCounterMode(display=False) as counter:  # also warms up
        call()
    _, seconds = _timed(pipeline, lambda: [call() for _ in range(rounds)])
    frames = rounds * batch_size
    return Timing(name, 1e3 * seconds / frames, counter.get_total_flops() / batch_size / 1e9)


def _output_timings(
    pipeline: ReenactmentPipeline, identity: IdentityCode, result: Path, paste_back: bool
) -> list[Timing]:
    timings = []
    reader = VideoReader(result)
    frames = list(islice(reader, 48))
    if paste_back:
        size = pipeline.output_size
        paste, image = PasteBack(identity.photo, identity.quad, size), crop_quad(identity.photo, identity.quad, size)
        _, seconds = _timed(pipeline, lambda: [paste(image) for _ in frames])
        timings.append(Timing("paste back", 1e3 * seconds / len(frames)))

    def encode() -> None:
        with VideoWriter(result.with_name("again.mp4"), reader.size, reader.fps, reader.time_base) as writer:
            for frame in frames:
                writer.write(frame.image, frame.time)

    _, seconds = _timed(pipeline, encode)
    return [*timings, Timing("encode the video", 1e3 * seconds / len(frames))]


def _timed(pipeline: ReenactmentPipeline, call: Callable) -> tuple[object, float]:
    _synchronize(pipeline.device)
    began = time.perf_counter()
    value = call()
    _synchronize(pipeline.device)
    return value, time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
