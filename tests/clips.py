"""Clips of a real face, made on the spot from the public-domain astronaut portrait."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

from vivface.media.writer import VideoWriter


def portrait() -> np.ndarray:
    """The astronaut, 512 x 512."""
    return astronaut()


def face_frame(seconds: float, size: int = 192) -> np.ndarray:
    """Her face, wandering slowly through a square frame."""
    side = 230 + 10 * np.sin(2 * np.pi * seconds / 3)
    left, top = 110 + 12 * np.sin(2 * np.pi * seconds / 2), 12 + 6 * np.cos(2 * np.pi * seconds / 2)
    corners = np.float32([[left, top], [left + side, top], [left, top + side]])
    matrix = cv2.getAffineTransform(corners, np.float32([[0, 0], [size, 0], [0, size]]))
    return cv2.warpAffine(portrait(), matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)


def write_face_clip(
    path: Path,
    frames: int,
    fps: Fraction | int = 25,
    times: list[Fraction] | None = None,
    hidden: range = range(0),
    size: int = 192,
    sound: Path | None = None,
) -> Path:
    """Write a clip of the face; frames in `hidden` show none."""
    with VideoWriter(path, (size, size), fps, audio_from=sound) as writer:
        for number in range(frames):
            time = times[number] if times else Fraction(number) / fps
            blank = np.full((size, size, 3), 128, np.uint8)
            writer.write(blank if number in hidden else face_frame(float(time), size), time)
    return path


def write_sound(path: Path, seconds: float) -> Path:
    """Write an audio file with a tone (AAC, 44.1 kHz)."""
    rate = 44100
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=rate, layout="mono")
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_times(path: Path) -> list[Fraction]:
    """Presentation times of all frames, seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def read_sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Times and bytes of the sound's packets."""
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.size]
