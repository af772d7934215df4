"""Measure what the mark in pictures survives.

    python -m training.tools.measure_mark clip.mp4 ... --sizes 128 256 512

It prints a table of changes x sizes: in how many films the mark is found, and in how many its number is read. How often
it is seen where it is not: `training.tools.measure_alarms`.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from training.tools.programs import program_parser, run_program
from vivface.media import VideoReader
from vivface.media.scheduling import open_encoder
from vivface.provenance import add_mark
from vivface.provenance.detection import find_mark

NUMBER = 0x5EED5EED
FRAMES = 24  # of a film
PLACES = 3  # of a clip from which films are taken
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Film = list[np.ndarray]


def coded(frames: Film, codec: str, **options: str) -> Film:
    """Frames after a codec, as a player shows them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = (side - side % 2 for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        open_encoder(stream.codec_context)
        for frame in frames:
            even = np.ascontiguousarray(frame[: stream.height, : stream.width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(even, "rgb24")))
        output.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def h264(crf: int) -> Callable[[Film], Film]:
    """Re-encoding with x264."""
    return lambda frames: coded(frames, "libx264", crf=str(crf), preset="medium")


def each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Film], Film]:
    """A change of every frame."""
    return lambda frames: [change(frame) for frame in frames]


def first(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Film], Film]:
    """A change of a still."""
    return lambda frames: [change(frames[len(frames) // 2])]


def then(*changes: Callable[[Film], Film]) -> Callable[[Film], Film]:
    """One change after the other."""

    def all_of_them(frames: Film) -> Film:
        for change in changes:
            frames = change(frames)
        return frames

    return all_of_them


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """Another size."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def cropped(image: np.ndarray, part: float = 0.1) -> np.ndarray:
    """A tenth of height and width less, not centred."""
    height, width = image.shape[:2]
    top, left = round(height * part * 0.3), round(width * part * 0.8)
    return np.ascontiguousarray(image[top : top + round(height * (1 - part)), left : left + round(width * (1 - part))])


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """JPEG."""

    def change(image: np.ndarray) -> np.ndarray:
        data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])

    return change


def screenshot(image: np.ndarray, zoom: float = 1.25) -> np.ndarray:
    """The picture as a screen shows it, enlarged, in a page of text."""
    shown = scaled(zoom)(image)
    height, width = shown.shape[:2]
    page = np.full((round(height * 1.5), round(width * 1.8), 3), 244, np.uint8)
    for line in range(page.shape[0] // 18):
        cv2.putText(page, "words beside a picture " * 8, (5, 15 + 18 * line), 0, 0.4, (40, 40, 40), 1)
    top, left = height // 6, width // 4
    page[top : top + height, left : left + width] = shown
    return page


def brighter(image: np.ndarray) -> np.ndarray:
    """Gamma 0.8 and 10 % more contrast."""
    return np.clip(280 * (image / 255) ** 0.8 - 12, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Film], Film]] = {
    "as vivface writes it (H.264, CRF 17)": h264(17),
    "H.264, CRF 23": h264(23),
    "H.264, CRF 28": h264(28),
    "H.264, CRF 32": h264(32),
    "AV1, CRF 35": lambda frames: coded(frames, "libsvtav1", crf="35", preset="10"),
    "half the size": each(scaled(0.5)),
    "half the size, H.264, CRF 28": then(each(scaled(0.5)), h264(28)),
    "cropped by 10 %": each(cropped),
    "cropped by 10 %, H.264, CRF 28": then(each(cropped), h264(28)),
    "screenshot of a page with one frame, PNG": first(screenshot),
    "CRF 23, then a screenshot of one frame, JPEG 85": then(h264(23), first(screenshot), first(jpeg(85))),
    "one frame, JPEG 75": first(jpeg(75)),
    "one frame, half the size, JPEG 50": then(first(scaled(0.5)), first(jpeg(50))),
    "brighter, more contrast, H.264, CRF 23": then(each(brighter), h264(23)),
    "mirrored, H.264, CRF 23": then(each(lambda image: np.ascontiguousarray(image[:, ::-1])), h264(23)),
}


def films(paths: Sequence[Path], size: int) -> Iterator[Film]:
    """Square films of one size, several from every clip."""
    for path in paths:
        if path.suffix.lower() in SUFFIXES:
            continue
        with VideoReader(path) as reader:
            duration = float(reader.duration or 0)
        for place in range(PLACES):
            with VideoReader(path, duration * place / PLACES, max_frames=FRAMES) as reader:
                frames = [frame.image for frame in reader]
            side = min(frames[0].shape[:2])
            yield [cv2.resize(frame[:side, :side], (size, size), interpolation=cv2.INTER_AREA) for frame in frames]


def survey(paths: Sequence[Path], sizes: Sequence[int]) -> None:
    """Print what the mark survives."""
    counts = {name: {size: [0, 0, 0] for size in sizes} for name in CHANGES}
    losses = {size: [] for size in sizes}
    for size in sizes:
        for frames in films(paths, size):
            marked = [add_mark(frame, NUMBER) for frame in frames]
            losses[size] += [np.mean((a.astype(float) - b) ** 2) for a, b in zip(frames, marked, strict=True)]
            for name, change in CHANGES.items():
                seen = change(marked)
                found = find_mark(seen)
                if not found.found and len(seen) > 1:  # as `verify` does
                    found = find_mark(seen[:1], searches=2)
                count = counts[name][size]
                count[0] += 1
                count[1] += found.found
                count[2] += found.identifier == NUMBER
    print("| change | " + " | ".join(f"{size} x {size}" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for name, by_size in counts.items():
        cells = [f"{found}/{films} ({read} read)" for films, found, read in by_size.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
    snr = [f"{10 * np.log10(255**2 / np.array(losses[size])).min():.1f}" for size in sizes]
    print("| lowest peak signal-to-noise ratio of a frame, dB | " + " | ".join(snr) + " |")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        MediaError: If a file cannot be read.
    """
    parser = program_parser("measure_mark", __doc__)
    parser.add_argument("media", nargs="+", type=Path, help="unmarked films; pictures are left out")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512], help="of the films, pixels")
    options = parser.parse_args(arguments)
    survey(options.media, options.sizes)


if __name__ == "__main__":
    run_program(main)
