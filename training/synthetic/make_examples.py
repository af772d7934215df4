"""Make the media of `examples/`: `python -m training.synthetic.make_examples --assets DIR`.

Synthetic portraits, and a synthetic driving clip with sound, of people whom no training shard contains, and the
public-domain astronaut of scikit-image. The same every time, up to the OpenGL driver and the encoders.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator

from training.synthetic.assets import load_kit
from training.synthetic.motion import CONTROLS, controls_from
from training.synthetic.person import TEST_SEED, sample_person
from training.synthetic.renderer import Renderer
from training.synthetic.scene import Scene, sample_scene
from training.synthetic.subject import Subject
from training.tools.programs import run_program
from vivface.media import VideoWriter, save_image

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 512  # pixels
FPS, FRAMES = 25, 100
RATE = 44_100  # samples of sound a second

# file -> seed of the person, seed of the background, expression, pose in degrees (yaw, pitch, roll)
PORTRAITS = {
    "portrait.png": (TEST_SEED + 151, 9, {"smile": 0.55, "brow_inner_up": 0.4, "wide": 0.2}, (-4.0, 1.0, 1.5)),
    "man.jpg": (TEST_SEED + 154, 2, {"smile": 0.4, "brow_inner_up": 0.3}, (6.0, 0.0, -1.0)),
    "elder.jpg": (TEST_SEED + 172, 11, {"smile": 0.6, "brow_inner_up": 0.5}, (-7.0, 2.0, 0.0)),
}
DRIVER, DRIVER_BACKGROUND = TEST_SEED + 175, 5

# What the driver does: syllables (second, loudness, vowel), blinks (second), and the head at some moments.
SYLLABLES = (
    (0.32, 0.6, "a"), (0.52, 0.8, "e"), (0.74, 0.7, "o"), (0.92, 0.9, "a"), (1.20, 0.7, "i"), (1.40, 0.9, "a"),
    (1.62, 0.8, "o"), (1.95, 0.6, "e"), (2.14, 1.0, "a"), (2.36, 0.8, "u"), (2.56, 0.7, "i"), (2.78, 0.9, "a"),
)  # fmt: skip
BLINKS = (0.72, 1.82, 2.66, 3.62)
HEAD = {  # second: yaw, pitch, roll in degrees
    0.0: (0, 0, 0), 0.35: (0, 0, 0), 1.15: (-20, 3, -3), 1.5: (-17, -2, -2), 2.3: (19, 2, 4), 2.6: (16, 6, 3),
    3.2: (0, -5, 0), 3.55: (-2, 2, -2), 4.0: (0, 0, 0),
}  # fmt: skip
VOWELS = {  # expression, and the first three formants in hertz
    "a": ({"jaw_open": 0.62, "part": 0.2}, (730, 1090, 2440)),
    "e": ({"jaw_open": 0.36, "stretch": 0.45, "lower_lip_down": 0.3}, (530, 1840, 2480)),
    "i": ({"jaw_open": 0.18, "stretch": 0.7, "part": 0.5, "lower_lip_down": 0.3}, (270, 2290, 3010)),
    "o": ({"jaw_open": 0.42, "pucker": 0.55, "funnel": 0.3}, (570, 840, 2410)),
    "u": ({"jaw_open": 0.2, "pucker": 0.85, "funnel": 0.4}, (300, 870, 2240)),
}


# ---------------------------------------------------------------- images


def studio(background: int, tone: np.ndarray) -> Scene:
    """Soft, neutral light from the upper left before the background of a scene seed; `tone` is the skin's albedo."""
    level = float(np.clip((0.25 / (tone @ [0.25, 0.6, 0.15])) ** 0.27, 0.95, 1.8))  # dark skin is exposed longer
    white = np.ones(3)
    return replace(
        sample_scene(background, tone), key_direction=_towards(-32, 30), key=white * [0.62, 0.60, 0.57],
        fill_direction=_towards(45, 8), fill=white * [0.14, 0.15, 0.16], rim_direction=_towards(140, 30),
        rim=white * 0.35, sky=white * [0.40, 0.41, 0.43], ground=white * [0.22, 0.21, 0.20], exposure=1.35 * level,
        distance=12.0,
    )  # fmt: skip


def _towards(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def render(renderer: Renderer, person: int, background: int, controls: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Frames `(T, H, W, 3)` of the person of a seed under controls `(T, K)` and poses `(T, 3)`."""
    who = sample_person(renderer.kit, person)
    subject = Subject(renderer, who, studio(background, who.tone))
    try:
        return np.stack(list(renderer.render(subject, controls, pose)))
    finally:
        subject.release()


# ---------------------------------------------------------------- motion


def driving_motion() -> tuple[np.ndarray, np.ndarray]:
    """Somebody talks, looks to both sides, blinks and smiles: controls `(FRAMES, K)` and poses `(FRAMES, 3)`."""
    time = np.arange(FRAMES) / FPS
    pose = PchipInterpolator(list(HEAD), np.array(list(HEAD.values()), float))(time)
    smile = _ramp(time, 2.95, 3.35)
    controls = np.outer(smile, controls_from(smile=0.7, grin=0.35, squint=0.3))
    for vowel, weight in vowel_weights(time).items():
        controls += np.outer(weight, controls_from(**VOWELS[vowel][0]))
    brows = _bump(time, 1.42, 0.3) + 0.7 * _bump(time, 2.5, 0.25)
    blink = np.max([np.exp(-(((time - at) / 0.11) ** 4)) for at in BLINKS], axis=0)
    controls += np.outer(brows, controls_from(brow_up=0.6, brow_inner_up=0.3)) + np.outer(blink, controls_from(blink=1))
    controls[:, CONTROLS.index("gaze_x")] = -0.4 * pose[:, 0] / 20  # the eyes stay near the camera
    controls[:, CONTROLS.index("gaze_y")] = -0.4 * pose[:, 1] / 20
    unsigned = [i for i, name in enumerate(CONTROLS) if not name.startswith("gaze")]
    controls[:, unsigned] = np.clip(controls[:, unsigned], 0, 1)
    return controls.astype(np.float32), pose.astype(np.float32)


def vowel_weights(time: np.ndarray) -> dict[str, np.ndarray]:
    """How much the mouth is in the shape of each vowel at moments `(T,)` in seconds."""
    weights = {vowel: np.zeros(len(time)) for vowel in VOWELS}
    for at, loudness, vowel in SYLLABLES:
        weights[vowel] += loudness * _bump(time, at, 0.085)
    return weights


def _bump(time: np.ndarray, at: float, width: float) -> np.ndarray:
    return np.exp(-(((time - at) / width) ** 2))


def _ramp(time: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((time - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


# ---------------------------------------------------------------- sound


def driving_sound() -> np.ndarray:
    """A soft hum in the vowels of the mouth: float32 `(FRAMES / FPS * RATE,)` in [-1, 1].

    Harmonics of a gliding pitch are weighed by the resonances of each vowel, and are as loud as the mouth is open.
    """
    time = np.arange(FRAMES * RATE // FPS) / RATE
    pitch = 128 + 14 * np.sin(2 * np.pi * time / 2.6) - 6 * time + 1.5 * np.sin(2 * np.pi * 5.2 * time)  # hertz
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros(len(time))
    for vowel, loudness in vowel_weights(time).items():
        formants = VOWELS[vowel][1]
        for harmonic in range(1, 26):
            frequency = harmonic * pitch
            gain = sum(a / (1 + ((frequency - f) / 90) ** 2) for a, f in zip((1, 0.5, 0.2), formants, strict=True))
            sound += loudness * (0.02 + gain) / harmonic**0.6 * np.sin(harmonic * phase)
    sound *= _ramp(time, 0.0, 0.05) * _ramp(-time, -time[-1], -time[-1] + 0.05)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def write_sound(path: Path, sound: np.ndarray) -> Path:
    """Write mono sound `(N,)` as AAC, 64 kbit/s."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        stream.bit_rate = 64_000
        for start in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


# ---------------------------------------------------------------- the program


def make_portraits(renderer: Renderer, folder: Path) -> None:
    """Write the portraits."""
    for name, (person, background, expression, pose) in PORTRAITS.items():
        controls = controls_from(**expression)[None]
        save_image(folder / name, render(renderer, person, background, controls, np.array([pose], np.float32))[0])


def make_driving(renderer: Renderer, path: Path) -> None:
    """Write the driving clip: H.264 and AAC."""
    frames = render(renderer, DRIVER, DRIVER_BACKGROUND, *driving_motion())
    with tempfile.TemporaryDirectory() as folder:
        sound = write_sound(Path(folder) / "sound.m4a", driving_sound())
        with VideoWriter(path, (SIZE, SIZE), FPS, audio_from=sound, crf=20, preset="veryslow") as writer:
            for frame in frames:
                writer.write(frame)


def make_astronaut(path: Path) -> None:
    """Write the portrait of Eileen Collins (NASA, public domain) that scikit-image ships: a real photograph."""
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(path, optimize=True)  # not by save_image, which marks images as synthetic


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.synthetic.make_examples", description=__doc__)
    parser.add_argument("--assets", help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    parser.add_argument("--cache", help="folder of the parsed assets (default: VIVFACE_CACHE or ~/.cache/vivface)")
    parser.add_argument("--out", type=Path, default=EXAMPLES)
    parser.add_argument("--only", choices=("portraits", "driving", "astronaut"), help="make only this")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only in (None, "astronaut"):
        make_astronaut(options.out / "astronaut.png")
    if options.only == "astronaut":
        return
    renderer = Renderer(load_kit(options.assets, options.cache), SIZE, supersample=2)
    if options.only in (None, "portraits"):
        make_portraits(renderer, options.out)
    if options.only in (None, "driving"):
        make_driving(renderer, options.out / "driving.mp4")


if __name__ == "__main__":
    run_program(main)
