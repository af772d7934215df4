"""Which morph targets shape a person: age, sex, build and ethnicity first, then the details of the face."""

from __future__ import annotations

import numpy as np

from training.synthetic.kit import ETHNICITIES, Kit

DETAIL_GROUPS = ("head", "forehead", "eyebrows", "neck", "eyes", "nose", "mouth", "ears", "chin", "cheek")
FEMALE_BIAS = {
    "chin-width": -0.3, "chin-bones": -0.15, "chin-height": -0.2, "neck-scale-horiz": -0.25, "eye-scale": 0.2,
    "nose-scale-vert": -0.15, "nose-width3": -0.2, "nose-volume": -0.15, "nose-hump": -0.2,
    "mouth-scale-horiz": -0.12, "eyebrows-trans:up": 0.2,
}  # fmt: skip


def sample_targets(
    kit: Kit, rng: np.random.Generator, male: bool, age: float, ethnicity: np.ndarray
) -> dict[str, float]:
    """Draw the morph targets of a person.

    Args:
        kit (`Kit`): The parsed assets.
        rng (`np.random.Generator`): Source of chance.
        male (`bool`): Sex.
        age (`float`): Years, 25 to 82.
        ethnicity (`np.ndarray` of shape `(3,)`): Weights of caucasian, asian, african; they sum to one.

    Returns:
        `dict[str, float]`: name of a target -> its weight.
    """
    targets = _macro_targets(rng, male, age, ethnicity)
    _detail_targets(kit, rng, male, targets)
    return targets


def _macro_targets(rng: np.random.Generator, male: bool, age: float, ethnicity: np.ndarray) -> dict[str, float]:
    """The targets that make a whole body; the base mesh without them is no person."""
    old = 2 * (0.5 + (age - 25) / 130) - 1
    ages = {"young": 1 - old, "old": old}
    g = float(np.clip(rng.normal(0.93 if male else 0.07, 0.06), 0, 1))
    genders = {"male": g, "female": 1 - g}

    def three(x: float) -> dict[str, float]:
        low, high = max(0.0, 1 - 2 * x), max(0.0, 2 * x - 1)
        return {"min": low, "average": 1 - low - high, "max": high}

    muscle = three(float(np.clip(rng.normal(0.58 if male else 0.5, 0.12), 0.15, 0.9)))
    weight = three(float(np.clip(rng.normal(0.5, 0.17), 0.08, 0.95)))
    targets: dict[str, float] = {}
    for gender, wg in genders.items():
        for years, wa in ages.items():
            for name, we in zip(ETHNICITIES, ethnicity, strict=True):
                targets[f"macrodetails/{name}-{gender}-{years}"] = wg * wa * we
            for m, wm in muscle.items():
                for w, ww in weight.items():
                    targets[f"macrodetails/universal-{gender}-{years}-{m}muscle-{w}weight"] = wg * wa * wm * ww
    return targets


def _detail_targets(kit: Kit, rng: np.random.Generator, male: bool, targets: dict[str, float]) -> None:
    """Add the details of a face to `targets`: small normal amounts, larger ones look like caricatures."""
    bias = {"eyebrows-angle": rng.uniform(0.2, 0.45)}
    if not male:
        bias |= FEMALE_BIAS
    spread = rng.uniform(0.7, 1.2)
    shared: dict[str, float] = {}
    for group, target, low, high in kit.modifiers:
        if group not in DETAIL_GROUPS:
            continue
        sided = target[:2] in ("l-", "r-")
        name = target[2:] if sided else target
        key = f"{name}:{high}"
        sigma = {"head": 0.11, "neck": 0.15}.get(group, 0.21)
        if name in ("ear-shape", "ear-rot", "head-age") or (name in ("head-trans", "neck-trans") and high != "out"):
            sigma *= 0.3
        if high == "out" and name in ("head-angle", "head-trans", "neck-trans", "mouth-trans", "nose-trans"):
            sigma *= 0.1
        if key not in shared:
            value = float(np.clip(rng.normal(0, sigma), -0.75, 0.75)) * spread
            shared[key] = value + bias.get(key, bias.get(name, 0.0))
        value = shared[key] + (rng.normal(0, 0.03) if sided else 0.0)
        if low is None:
            targets[f"{group}/{target}"] = max(0.0, value)
        elif value > 0:
            targets[f"{group}/{target}-{high}"] = value
        else:
            targets[f"{group}/{target}-{low}"] = -value
    for name in sorted({n[:-2] for n in kit.target_names if n.startswith("asym/")}):
        value = float(np.clip(rng.normal(0, 0.12), -0.35, 0.35))
        targets[f"{name}-{'l' if value > 0 else 'r'}"] = abs(value)
