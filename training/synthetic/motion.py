"""The control vector of a head and samplers of motion.

Controls run 0..1 except the signed gaze (`gaze_x` > 0 looks toward the left edge of the image, `gaze_y` > 0 looks
down; 1 = 20 degrees). Head pose is yaw, pitch, roll in degrees: yaw > 0 turns the face toward the left edge of the
image, pitch > 0 looks down, roll > 0 tilts clockwise in the image. Left and right in names are the person's.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# control -> recipe over pose units (CamelCase) and expression targets (kebab-case; @l and @r are halves of the mouth).
RECIPES: dict[str, dict[str, float]] = {
    "jaw_open": {"JawDrop": 1.0},
    "jaw_left": {"ChinLeft": 0.8},
    "jaw_right": {"ChinRight": 0.8},
    "smile_left": {"mouth-corner-puller@l": 0.9, "LeftCheekUp": 0.35, "LeftLowerLidUp": 0.3},
    "smile_right": {"mouth-corner-puller@r": 0.9, "RightCheekUp": 0.35, "RightLowerLidUp": 0.3},
    "grin": {
        "mouth-upward-retraction": 0.75, "mouth-corner-puller": 0.3, "LeftCheekUp": 0.5, "RightCheekUp": 0.5,
        "LeftLowerLidUp": 0.4, "RightLowerLidUp": 0.4,
    },
    "frown": {"mouth-depression": 0.8},
    "pucker": {"mouth-pursing": 0.95},
    "funnel": {"mouth-protusion": 0.6, "mouth-eversion": 0.3},
    "stretch": {"mouth-retraction": 0.8},
    "press": {"mouth-compression": 0.7},
    "part": {"mouth-parling": 0.8},
    "upper_lip_up": {"mouth-elevation": 0.7},
    "lower_lip_down": {"mouth-depression-retraction": 0.6},
    "mouth_left": {"MouthMoveLeft": 0.7},
    "mouth_right": {"MouthMoveRight": 0.7},
    "puff": {"CheeksPump": 0.8},
    "sneer_left": {"nose-left-elevation": 0.7},
    "sneer_right": {"nose-right-elevation": 0.7},
    "nose_wrinkle": {"NoseWrinkler": 0.5},
    "tongue_out": {"TongueOut": 0.8},
    "blink_left": {"LeftUpperLidClosed": 1.0, "LeftLowerLidUp": 0.05},
    "blink_right": {"RightUpperLidClosed": 1.0, "RightLowerLidUp": 0.05},
    "wide": {"LeftUpperLidOpen": 0.7, "RightUpperLidOpen": 0.7},
    "squint_left": {"LeftLowerLidUp": 0.6},
    "squint_right": {"RightLowerLidUp": 0.6},
    "brow_up_left": {"eyebrows-left-up": 0.9},
    "brow_up_right": {"eyebrows-right-up": 0.9},
    "brow_inner_up": {"eyebrows-left-inner-up": 0.8, "eyebrows-right-inner-up": 0.8},
    "brow_down_left": {"eyebrows-left-down": 0.85},
    "brow_down_right": {"eyebrows-right-down": 0.85},
}  # fmt: skip
GAZE = {  # signed controls: recipes of the positive and of the negative side
    "gaze_x": ({"LeftEyeturnRight": 1.0, "RightEyeturnRight": 1.0}, {"LeftEyeturnLeft": 1.0, "RightEyeturnLeft": 1.0}),
    "gaze_y": ({"LeftEyeDown": 1.0, "RightEyeDown": 1.0}, {"LeftEyeUp": 1.0, "RightEyeUp": 1.0}),
}
CONTROLS: tuple[str, ...] = (*RECIPES, *GAZE)
INDEX = {name: i for i, name in enumerate(CONTROLS)}
POSE_LIMITS = np.array([40.0, 22.0, 15.0])  # degrees: yaw, pitch, roll


def controls_from(**values: float) -> np.ndarray:
    """Build a control vector `(K,)`; `smile`, `blink`, `squint`, `brow_up`, `brow_down`, `sneer` set both sides."""
    out = np.zeros(len(CONTROLS), np.float32)
    for name, value in values.items():
        for key in (name,) if name in INDEX else (f"{name}_left", f"{name}_right"):
            if key not in INDEX:
                raise ValueError(f"control is {name!r}, expected one of {CONTROLS}")
            out[INDEX[key]] = value
    return out


def sample_motions(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw independent, varied motions.

    Returns:
        Controls `(count, K)` and poses `(count, 3)` in degrees, float32.
    """
    rng = np.random.default_rng([seed, 23])
    controls, poses = zip(*(_one_motion(rng) for _ in range(count)), strict=True)
    return np.stack(controls), np.stack(poses)


def _one_motion(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    values = _sample_mouth(rng)
    values |= _sample_eyes(rng)
    values |= _sample_brows(rng, values.get("nose_wrinkle", 0.0))
    if rng.random() < 0.25:
        pose = rng.uniform(-1, 1, 3) * POSE_LIMITS
    else:
        pose = rng.normal(0, 1, 3) * [13.0, 7.0, 5.0]
    pose = np.clip(pose, -POSE_LIMITS, POSE_LIMITS)
    gaze = rng.normal(0, 0.35, 2) if rng.random() < 0.7 else rng.uniform(-1, 1, 2) * [1.1, 0.7]
    gaze -= 0.35 * rng.random() * pose[:2] / 20  # eyes tend to stay on the camera
    values |= {"gaze_x": float(np.clip(gaze[0], -1.2, 1.2)), "gaze_y": float(np.clip(gaze[1], -0.8, 0.8))}
    return controls_from(**values), pose.astype(np.float32)


def _both(rng: np.random.Generator, name: str, value: float, spread: float = 0.1) -> dict[str, float]:
    """A control of both sides, a little uneven."""
    tilt = rng.normal(0, spread)
    return {
        f"{name}_left": float(np.clip(value * (1 + tilt), 0, 1)),
        f"{name}_right": float(np.clip(value * (1 - tilt), 0, 1)),
    }


def _sample_mouth(rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    values: dict[str, float] = {}
    mouth = rng.choice(["shut", "talk", "smile", "grin", "open", "odd"], p=[0.17, 0.40, 0.13, 0.10, 0.09, 0.11])
    if mouth == "talk":
        values |= _sample_speech(rng)
    elif mouth == "smile":
        values |= _both(rng, "smile", u(0.3, 1.0), 0.2)
        values["jaw_open"] = max(0.0, u(-0.3, 0.35))
    elif mouth == "grin":
        values |= {"grin": u(0.4, 1.0), "jaw_open": max(0.0, u(-0.25, 0.5))}
        values |= _both(rng, "smile", u(0, 0.4))
    elif mouth == "open":
        values["jaw_open"] = u(0.6, 1.0)
        if rng.random() < 0.4:
            values["stretch" if rng.random() < 0.5 else "pucker"] = u(0, 0.4)
    elif mouth == "odd":
        for name in rng.choice(
            ["frown", "press", "mouth_left", "mouth_right", "puff", "pucker", "jaw_left", "jaw_right", "upper_lip_up",
             "lower_lip_down", "nose_wrinkle"], size=2, replace=False,
        ):  # fmt: skip
            values[str(name)] = u(0.3, 1.0)
        if rng.random() < 0.3:
            values |= _both(rng, "sneer", u(0.2, 1.0), 0.4)
        if rng.random() < 0.06:
            values |= {"tongue_out": u(0.5, 1.0), "jaw_open": u(0.3, 0.6)}
    return values


def _sample_speech(rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    values = {"jaw_open": float(rng.beta(1.4, 2.6) * 0.75)}
    shape = rng.choice(["plain", "oh", "ee", "ff", "eh"])
    if shape == "oh":
        values |= {"pucker": u(0.2, 0.9), "funnel": u(0, 0.4)}
    elif shape == "ee":
        values |= {"stretch": u(0.2, 0.9), "part": u(0, 0.6), "lower_lip_down": u(0, 0.5)}
    elif shape == "ff":
        values |= {"upper_lip_up": u(0.1, 0.5), "jaw_open": u(0, 0.12), "part": u(0, 0.4)}
    elif shape == "eh":
        values |= {"part": u(0.2, 0.8), "lower_lip_down": u(0, 0.5)}
    if rng.random() < 0.35:
        values |= _both(rng, "smile", u(0, 0.6))
    return values


def _sample_eyes(rng: np.random.Generator) -> dict[str, float]:
    u = rng.uniform
    eyes = rng.choice(["open", "half", "closed", "wink", "wide"], p=[0.66, 0.14, 0.10, 0.03, 0.07])
    if eyes == "open":
        values = _both(rng, "blink", u(0, 0.12), 0.02)
    elif eyes == "half":
        values = _both(rng, "blink", u(0.2, 0.85), 0.02)
    elif eyes == "closed":
        values = _both(rng, "blink", 1.0, 0.0)
    elif eyes == "wink":
        amount = u(0.7, 1.0)
        values = {f"blink_{rng.choice(['left', 'right'])}": amount}
    else:
        values = {"wide": u(0.3, 1.0)}
    if rng.random() < 0.25:
        values |= _both(rng, "squint", u(0, 1.0), 0.1)
    return values


def _sample_brows(rng: np.random.Generator, nose_wrinkle: float) -> dict[str, float]:
    u = rng.uniform
    brows = rng.choice(["rest", "up", "down", "worried", "one"], p=[0.52, 0.2, 0.14, 0.09, 0.05])
    if brows == "up":
        return _both(rng, "brow_up", u(0.2, 1.0), 0.1) | {"brow_inner_up": u(0, 0.6)}
    if brows == "down":
        values = _both(rng, "brow_down", u(0.2, 1.0), 0.1)
        return values | {"nose_wrinkle": max(nose_wrinkle, u(0, 0.6))}
    if brows == "worried":
        return {"brow_inner_up": u(0.3, 1.0)}
    if brows == "one":
        amount = u(0.4, 1.0)
        return {f"brow_up_{rng.choice(['left', 'right'])}": amount}
    return {}


def sample_clip(seed: int, count: int, fps: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a smooth clip of somebody who talks, looks around and blinks; face and head start near neutral.

    Returns:
        Controls `(count, K)` and poses `(count, 3)` in degrees, float32.
    """
    rng = np.random.default_rng([seed, 31])
    pad = int(4 * fps)

    def wave(period: float) -> np.ndarray:
        """Band-limited noise of unit deviation and about `period` seconds."""
        x = ndimage.gaussian_filter1d(rng.normal(size=count + 2 * pad), period * fps / 4)[pad : pad + count]
        sigma = 1 / np.sqrt(2 * np.sqrt(np.pi) * period * fps / 4)
        return x / sigma

    def soft(x: np.ndarray, low: float, high: float) -> np.ndarray:
        t = np.clip((x - low) / (high - low), 0, 1)
        return t * t * (3 - 2 * t)

    time = np.arange(count) / fps
    begun = soft(time, -0.4, 1.0)  # people start near neutral: with a fifth of what they do later
    c = {name: np.zeros(count) for name in CONTROLS}
    talking = soft(wave(2.5), -0.9, 0.1)
    c["jaw_open"] = talking * np.clip(0.34 + 0.46 * wave(0.28), 0, 1.0)
    c["pucker"] = talking * np.clip(0.45 * wave(0.5) - 0.1, 0, 0.8)
    c["stretch"] = talking * np.clip(0.35 * wave(0.5) - 0.1, 0, 0.7)
    c["part"] = talking * np.clip(0.2 + 0.25 * wave(0.4), 0, 0.7)
    c["lower_lip_down"] = talking * np.clip(0.25 * wave(0.45), 0, 0.6)
    smile = soft(wave(3.0), 0.1, 1.3)
    grin = smile * soft(wave(3.0), -0.2, 0.8)
    c["smile_left"] = c["smile_right"] = 0.75 * smile * (1 - 0.6 * grin)
    c["grin"] = 0.7 * grin
    c["press"] = (1 - talking) * np.clip(0.3 * wave(1.5) - 0.1, 0, 0.5)
    brow = wave(1.6)
    c["brow_up_left"] = np.clip(0.35 * brow - 0.1 + 0.04 * wave(1.0), 0, 0.9)
    c["brow_up_right"] = np.clip(0.35 * brow - 0.1 + 0.04 * wave(1.0), 0, 0.9)
    c["brow_down_left"] = c["brow_down_right"] = np.clip(-0.3 * brow - 0.15, 0, 0.7)
    c["brow_inner_up"] = np.clip(0.25 * wave(1.8), 0, 0.6)
    c["squint_left"] = c["squint_right"] = np.clip(0.2 * wave(2.0), 0, 0.6)

    c = {name: begun * values for name, values in c.items()}

    blink, t = np.zeros(count), rng.uniform(0.4, 1.6)
    while t < count / fps:
        length = rng.uniform(0.09, 0.14)
        blink = np.maximum(blink, np.exp(-(((time - t) / length) ** 4)))
        t += rng.choice([0.35, rng.uniform(1.2, 4.0)], p=[0.1, 0.9])
    c["blink_left"] = c["blink_right"] = np.clip(blink, 0, 1)

    jumps = np.cumsum(rng.random(count) < 0.8 / fps)  # saccades: piecewise constant targets, quickly reached
    targets = rng.normal(0, [0.28, 0.15], (int(jumps[-1]) + 1, 2))
    gaze = ndimage.gaussian_filter1d(targets[jumps], 0.03 * fps, axis=0)
    reach = rng.uniform(0.6, 1.25)
    pose = np.stack([wave(2.2) * 12 + wave(0.8) * 1.5, wave(2.0) * 5.5 + wave(0.6) * 1.2, wave(2.6) * 4], 1) * reach
    pose *= begun[:, None]
    pose = POSE_LIMITS * np.tanh(pose / POSE_LIMITS)
    c["gaze_x"] = np.clip(gaze[:, 0] - 0.3 * pose[:, 0] / 20, -1.2, 1.2)
    c["gaze_y"] = np.clip(gaze[:, 1] - 0.3 * pose[:, 1] / 20, -0.8, 0.8)
    return np.stack([c[name] for name in CONTROLS], 1).astype(np.float32), pose.astype(np.float32)
