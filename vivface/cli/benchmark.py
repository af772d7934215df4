"""Measure how fast a pipeline re-enacts: each step alone, and end to end.

End to end, decoding, computing and encoding overlap, so the sum of the steps is no measure of it.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
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
from vivface.provenance import add_mark
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.driving import SteadyCrop
from vivface.warping.framing import Framing, frame_size
from vivface.warping.moving_photo import MovingPhoto
from vivface.warping.retargeting import Rest

FACE_SIZE = 300  # of generated inputs, pixels


@dataclass
class Timing:
    """What one step costs.

    Args:
        name (`str`): The step.
        milliseconds (`float`): Per frame, or per call of what runs once.
        gflop (`float`, *optional*): Work per frame of a network, in 10^9 floating-point operations.
        processor_milliseconds (`float`, *optional*): Time of all processors, of a network: on one thread the time that
            it would take on a machine that nobody else uses.
    """

    name: str
    milliseconds: float
    gflop: float | None = None
    processor_milliseconds: float | None = None


@dataclass
class Benchmark:
    """What was measured.

    Args:
        checkpoint (`str`): What was loaded.
        size (`int`): Width and height of the frames, pixels.
        device (`str`), threads (`int`), batch_size (`int`): What they were computed with.
        frames (`int`): How many were made.
        convolution_gflop_per_second (`float`): Rate of a wide convolution on the device, the most to hope for.
        timings (`list[Timing]`): The steps, each alone.
        seconds_per_frame (`float`), frames_per_second (`float`): End to end.
        seconds_to_start (`float`): To read the portrait, with its tuning.
        memory_mb (`float`): Most resident memory of the process so far, in 10^6 bytes; 0 where it is not known.
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
    memory_mb: float


def benchmark(
    pipeline: ReenactmentPipeline,
    source: Path,
    driving: Path,
    frames: int,
    refine: bool,
    paste_back: bool,
    name: str,
    adapt: str | None = None,
) -> Benchmark:
    """Measure a pipeline on a portrait and a driving video.

    Args:
        pipeline (`ReenactmentPipeline`): On its device. The networks are measured alone for `VivFacePipeline` only.
        source, driving (`Path`): A portrait, and a video with at least `frames` frames that begins with a face.
        frames (`int`): How many frames to average over.
        refine, paste_back (`bool`): What to include.
        name (`str`): Of the checkpoint, for the report.
        adapt (`str`, *optional*): Tuning to the portrait; as the checkpoint says by default.

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

    adapt = 0 if adapt is None and pipeline.offers_detail else adapt  # the photograph needs no tuning
    identity, seconds_to_start = _timed(pipeline, lambda: pipeline.encode_identity(source, adapt=adapt))
    if isinstance(pipeline, VivFacePipeline):
        timings += _network_timings(pipeline, identity, frames, batch_size, refine)

    # End to end, as users run it
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        result = pipeline(
            identity, driving, refine=refine, paste_back=paste_back, duration=Fraction(frames) / reader.fps
        )
        _, seconds = _timed(pipeline, lambda: result.save(output))
        if result.options.detail:
            timings.append(_photo_timing(pipeline, identity, driving))
        timings += _output_timings(pipeline, identity, output, paste_back)
    done = result.report.frames
    return Benchmark(
        checkpoint=name,
        size=result.options.frame_size(pipeline, identity),
        device=str(pipeline.device),
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        frames=done,
        convolution_gflop_per_second=convolution_rate(pipeline.device),
        timings=timings,
        seconds_per_frame=seconds / done,
        frames_per_second=done / seconds,
        seconds_to_start=seconds_to_start,
        memory_mb=_peak_memory(),
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
    tracker = FaceTracker(pipeline.backend, states=False)
    first, detect = _timed(pipeline, lambda: tracker.update(images[0]))
    if not first.found:
        raise MediaError("The first frame of the driving video shows no face: give a video that begins with one.")
    cut = SteadyCrop(pipeline.motion_crop, pipeline.motion_size)
    track = crop = 0.0
    used = 0.0
    for number, image in enumerate(images):
        before = time.process_time()
        tracked, seconds = _timed(pipeline, lambda image=image: tracker.update(image))
        track, used = track + seconds, used + time.process_time() - before
        _, seconds = _timed(pipeline, lambda i=image, t=tracked, n=number: cut(i, t, float(n / fps)))
        crop += seconds
    count = len(images)
    return [
        Timing("find the face (once)", 1e3 * detect),
        Timing("track the face", 1e3 * track / count, None, 1e3 * used / count),
        Timing("crop", 1e3 * crop / count),
    ]


@torch.no_grad()
def _network_timings(
    pipeline: VivFacePipeline, identity: IdentityCode, frames: int, batch_size: int, refine: bool
) -> list[Timing]:
    rounds = max(1, frames // batch_size)
    size, generator = pipeline.config.image_size, pipeline.network(pipeline.generator_of(identity))
    encoder = pipeline.network(pipeline.encoder)
    transformer = None if pipeline.transformer is None else pipeline.network(pipeline.transformer)
    refined = refine and pipeline.refinement is not None
    crops = torch.rand(batch_size, 3, size, size, device=pipeline.device, dtype=pipeline.encoder.dtype) * 2 - 1
    generic = encoder(crops, identity=False, memory=False).motion
    deformation = generic if transformer is None else transformer(generic, identity.memory)
    styles = [style.expand(batch_size, -1) for style in identity.styles]
    styles = generator.add_motion(styles, deformation)

    calls: dict[str, Callable[[], object]] = {
        "encode motion (E)": lambda: encoder(crops, identity=False, memory=False),
        **({} if transformer is None else {"adapt motion (T)": lambda: transformer(generic, identity.memory)}),
        "generate (G)": lambda: generator(styles=styles),
    }
    if refined:  # G in two parts, as it is called then
        refinement, layer = pipeline.network(pipeline.refinement), generator.refinement_layer
        calls["generate (G)"] = lambda: generator(styles=styles, resume=generator(styles=styles, stop_after=layer))
        state = generator(styles=styles, stop_after=layer)
        image = F.interpolate(generator(styles=styles, resume=state), (size, size), mode="bilinear")
        calls["refine (R)"] = lambda: refinement(image, identity.reference)
        calls["generate again, from R on"] = lambda: generator(styles=styles, resume=state)
    return [_network_timing(pipeline, name, call, batch_size, rounds) for name, call in calls.items()]


def _network_timing(pipeline: ReenactmentPipeline, name: str, call: Callable, batch_size: int, rounds: int) -> Timing:
    plain = pipeline.network(pipeline.generator) is pipeline.generator
    with FlopCounterMode(display=False) if plain else nullcontext() as counter:  # PyTorch's own operations only
        call()  # also warms up
    used = time.process_time()
    _, seconds = _timed(pipeline, lambda: [call() for _ in range(rounds)])
    used, frames = time.process_time() - used, rounds * batch_size
    gflop = counter.get_total_flops() / batch_size / 1e9 if plain else None
    return Timing(name, 1e3 * seconds / frames, gflop, 1e3 * used / frames)


def _photo_timing(pipeline: ReenactmentPipeline, identity: IdentityCode, driving: Path) -> Timing:
    """Moving the photograph, without reading the driver's points."""
    points = next(iter(pipeline.encode_motion(driving, duration=1))).points
    face = identity.photo, identity.quad, identity.points
    framing = Framing.within(*face)
    size = frame_size(identity.quad, framing)
    moving = MovingPhoto(*face, size, Rest.of(points), crops=pipeline.crops, framing=framing)
    moving(points[0])
    _, seconds = _timed(pipeline, lambda: [moving(face) for face in points])
    return Timing("move the photograph", 1e3 * seconds / len(points))


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

    _, seconds = _timed(pipeline, lambda: [add_mark(frame.image, 1) for frame in frames])
    timings.append(Timing("mark the frame", 1e3 * seconds / len(frames)))

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


def _peak_memory() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
