"""Make the motions that come with the package: `python -m training.synthetic.make_motions --assets DIR`.

Five short clips of a synthetic head in `vivface/motions/`: nod, talk, smile, look-around and laugh. Each begins and
ends with the same pose and expression, so that it can be looped. Clips, not codes, so that every checkpoint can read
them. The same every time, up to the OpenGL driver and the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from training.synthetic.assets import load_kit
from training.synthetic.make_examples import VOWELS, render
from training.synthetic.motion import CONTROLS, controls_from
from training.synthetic.person import TEST_SEED
from training.synthetic.renderer import Renderer
from training.tools.programs import program_parser, run_program
from vivface.media import VideoWriter
from vivface.provenance import Provenance, Stamp, number_of

MOTIONS = Path(__file__).parents[2] / "vivface" / "motions"
SIZE, FPS, QUALITY = 256, 25, 62
PERSON, BACKGROUND = TEST_SEED + 175, 5  # the driver of the examples

Poses = dict[float, tuple[float, float, float]]
STILL = (0.0, 0.0, 0.0)


def nod(time: np.ndarray) -> tuple[np.ndarray, Poses]:
    """Two nods with a friendly mouth."""
    controls = np.outer(_ramp(time, 0.1, 0.5) * _ramp(-time, -1.9, -1.4), controls_from(smile=0.25))
    return controls + _blinks(time, 1.05), {0: STILL, 0.35: (0, -4, 0), 0.65: (0, 11, 0), 0.95: (1, -3, 0),
                                            1.2: (1, 9, 0), 1.55: (0, -1, 0), 2.0: STILL}  # fmt: skip


def talk(time: np.ndarray) -> tuple[np.ndarray, Poses]:
    """A sentence of thirteen syllables with small movements of the head."""
    syllables = zip(
        (0.25, 0.43, 0.62, 0.80, 1.05, 1.22, 1.42, 1.75, 1.93, 2.12, 2.30, 2.52, 2.72),
        (0.6, 0.9, 0.7, 1.0, 0.7, 0.9, 0.6, 0.8, 1.0, 0.8, 0.9, 0.7, 0.5),
        "aeoaieuaoiaea",
        strict=True,
    )
    controls = _blinks(time, 0.9, 2.4)
    for at, loudness, vowel in syllables:
        controls += np.outer(loudness * _bump(time, at, 0.085), controls_from(**VOWELS[vowel][0]))
    controls += np.outer(_bump(time, 1.1, 0.25) + 0.6 * _bump(time, 2.0, 0.2), controls_from(brow_up=0.4))
    return controls, {0: STILL, 0.5: (3, 2, 1), 1.1: (-5, -2, -1), 1.6: (-2, 3, -2), 2.1: (5, 0, 2),
                      2.6: (2, 2, 0), 3.2: STILL}  # fmt: skip


def smile(time: np.ndarray) -> tuple[np.ndarray, Poses]:
    """A smile that comes, stays and goes."""
    shown = _ramp(time, 0.2, 0.8) * _ramp(-time, -2.3, -1.7)
    controls = np.outer(shown, controls_from(smile=0.85, grin=0.3, squint=0.4)) + _blinks(time, 1.3)
    return controls, {0: STILL, 0.8: (2, -2, 3), 1.7: (3, -1, 3), 2.4: STILL}


def look_around(time: np.ndarray) -> tuple[np.ndarray, Poses]:
    """To both sides, up and down; the eyes go first."""
    poses = {0: STILL, 0.25: STILL, 0.8: (-20, 2, -2), 1.1: (-20, 2, -2), 1.8: (20, 1, 2), 2.1: (20, 1, 2),
             2.6: (2, -9, 0), 3.0: (0, 8, 0), 3.5: STILL, 3.6: STILL}  # fmt: skip
    controls = _blinks(time, 1.4, 2.35)
    ahead = _path(poses, time + 0.12) - _path(poses, time)  # degrees that the head is behind
    controls[:, CONTROLS.index("gaze_x")] = np.clip(ahead[:, 0] / 15, -0.8, 0.8)
    controls[:, CONTROLS.index("gaze_y")] = np.clip(ahead[:, 1] / 15, -0.8, 0.8)
    return controls, poses


def laugh(time: np.ndarray) -> tuple[np.ndarray, Poses]:
    """Four bursts of laughter."""
    shown = _ramp(time, 0.1, 0.5) * _ramp(-time, -2.4, -1.9)
    bursts = sum(_bump(time, at, 0.1) for at in (0.6, 0.9, 1.2, 1.55))
    controls = np.outer(shown, controls_from(smile=0.9, grin=0.5, squint=0.6, jaw_open=0.15))
    controls += np.outer(bursts, controls_from(jaw_open=0.35, part=0.2)) + _blinks(time, 2.2)
    return controls, {0: STILL, 0.5: (0, -3, 2), 0.75: (1, -7, 3), 1.05: (1, -4, 3), 1.4: (2, -8, 4), 1.9: (1, -2, 2),
                      2.5: STILL}  # fmt: skip


ALL: dict[str, Callable[[np.ndarray], tuple[np.ndarray, Poses]]] = {
    "nod": nod,
    "talk": talk,
    "smile": smile,
    "look-around": look_around,
    "laugh": laugh,
}


def motion_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Controls `(T, K)` in their ranges and poses `(T, 3)` in degrees of a motion, at `FPS`."""
    length = max(ALL[name](np.zeros(1))[1])
    time = np.arange(round(length * FPS) + 1) / FPS
    controls, poses = ALL[name](time)
    unsigned = [i for i, control in enumerate(CONTROLS) if not control.startswith("gaze")]
    controls[:, unsigned] = np.clip(controls[:, unsigned], 0, 1)
    return controls.astype(np.float32), _path(poses, time).astype(np.float32)


def _path(poses: Poses, time: np.ndarray) -> np.ndarray:
    interpolate = PchipInterpolator(list(poses), np.array(list(poses.values()), float))
    return interpolate(np.clip(time, min(poses), max(poses)))


def _blinks(time: np.ndarray, *at: float) -> np.ndarray:
    return np.outer(np.max([np.exp(-(((time - t) / 0.11) ** 4)) for t in at], axis=0), controls_from(blink=1))


def _bump(time: np.ndarray, at: float, width: float) -> np.ndarray:
    return np.exp(-(((time - at) / width) ** 2))


def _ramp(time: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((time - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def main(arguments: list[str] | None = None) -> None:
    """Render and write the clips.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If the assets are missing.
        MediaError: If a file cannot be written.
    """
    parser = program_parser("make_motions", __doc__)
    parser.add_argument("--assets", help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    parser.add_argument("--cache", help="folder of the parsed assets (default: VIVFACE_CACHE or ~/.cache/vivface)")
    parser.add_argument("--out", type=Path, default=MOTIONS)
    parser.add_argument("--only", choices=tuple(ALL), help="make only this")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(load_kit(options.assets, options.cache), SIZE, supersample=2)
    for name in [options.only] if options.only else ALL:
        stamp = Stamp(Provenance(manifest=False), number_of("motion", name))
        with VideoWriter(options.out / f"{name}.mp4", (SIZE, SIZE), FPS, quality=QUALITY, preset="veryslow") as writer:
            for frame in render(renderer, PERSON, BACKGROUND, *motion_of(name)):
                writer.write(stamp.picture(frame))


if __name__ == "__main__":
    run_program(main)
