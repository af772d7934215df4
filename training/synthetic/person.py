"""`SyntheticPerson`: everything that stays the same while a head moves, drawn from one integer seed.

Seeds from `TEST_SEED` upward are people held out for evaluation: never render training data with them.
Colours are linear-light albedos, RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthetic.assets import BROW_STYLES, CLOTHES, ETHNICITIES, EYE_COLOURS, LASH_STYLES, TEETH_STYLES, Kit

TEST_SEED = 900_000

FAIR, DARK = np.array([0.56, 0.40, 0.32]), np.array([0.046, 0.019, 0.011])
DETAIL_GROUPS = ("head", "forehead", "eyebrows", "neck", "eyes", "nose", "mouth", "ears", "chin", "cheek")
HAIR_COLOURS = {  # albedo of the lit strand
    "black": (0.018, 0.015, 0.014), "dark": (0.050, 0.032, 0.022), "brown": (0.115, 0.066, 0.038),
    "chestnut": (0.16, 0.075, 0.035), "red": (0.30, 0.105, 0.035), "blond": (0.46, 0.31, 0.14),
    "ash": (0.36, 0.28, 0.18), "grey": (0.33, 0.33, 0.33), "white": (0.66, 0.65, 0.62),
}  # fmt: skip


@dataclass
class SyntheticPerson:
    """One synthetic person. Ages are years, ethnicity weights sum to one, `targets` weighs morph targets by name."""

    seed: int
    male: bool
    age: float
    ethnicity: np.ndarray  # (3,) caucasian, asian, african
    targets: dict[str, float]
    relaxed: dict[str, float]  # controls that are part of this person's neutral face
    tone: np.ndarray  # (3,) skin albedo
    skin_maps: tuple[str, str]
    skin_blend: float
    skin_contrast: float
    lips: np.ndarray  # (3,) factor on the albedo of the lips
    paint: dict[str, float]  # blush, stubble, freckles, shadows, gloss ...
    eye_colour: str
    eye_tint: np.ndarray
    hair: str | None  # style, or None for shaved and bald heads
    hair_volume: float
    hair_colour: np.ndarray
    hair_mirror: bool
    scalp_hair: float  # 0 bald .. 1 dense short hair painted on the scalp
    brows: str
    brow_colour: np.ndarray
    brow_density: float
    lashes: str
    lash_density: float
    teeth: str
    teeth_tint: np.ndarray
    clothes: str
    cloth_colour: np.ndarray
    cloth_mix: float  # 0 keeps the colours of the texture, 1 replaces them
    glasses: dict | None = None


def sample_person(kit: Kit, seed: int) -> SyntheticPerson:
    """Draw the person of `seed`; the same seed always gives the same person."""
    rng = np.random.default_rng([seed, 11])
    male = bool(rng.random() < 0.5)
    age = float(np.clip(rng.choice([rng.normal(30, 7), rng.uniform(25, 80)], p=[0.6, 0.4]), 25, 82))
    if rng.random() < 0.68:
        ethnicity = np.full(3, 0.05) + 0.85 * np.eye(3)[rng.choice(3, p=[0.42, 0.29, 0.29])]
    else:
        ethnicity = rng.dirichlet([0.9, 0.7, 0.7])
    targets = _macro_targets(rng, male, age, ethnicity)
    _detail_targets(kit, rng, male, targets)

    # Skin
    melanin = float(np.clip(ethnicity @ [0.16, 0.27, 0.76] + rng.normal(0, 0.11), 0, 1))
    tone = np.exp(np.log(FAIR) * (1 - melanin) + np.log(DARK) * melanin)
    tone *= np.exp(rng.normal(0, [0.05, 0.03, 0.05])) * np.exp(rng.normal(0, 0.08))
    maps = _skin_maps(kit, rng, male, age, ethnicity)
    lip_depth = rng.uniform(0.0, 0.5) if male else rng.uniform(0.1, 1.0)
    lips = np.exp(lip_depth * np.log(np.array([0.92, 0.66, 0.70]))) * np.exp(rng.normal(0, 0.04, 3))
    if not male and rng.random() < 0.25:  # lipstick
        lips *= np.array([[0.95, 0.45, 0.5], [0.8, 0.5, 0.6], [1.0, 0.62, 0.55]])[rng.integers(3)]
    beard = male and rng.random() < 0.55
    paint = {
        "blush": rng.uniform(0, 0.6) * (1 - 0.5 * melanin),
        "nose": rng.uniform(0, 0.5),
        "stubble": float(rng.beta(1.2, 1.8)) if beard else 0.0,
        "freckles": rng.uniform(0.2, 0.9) if rng.random() < 0.18 * (1 - melanin) + 0.02 else 0.0,
        "moles": float(rng.integers(0, 4)),
        "under_eye": rng.uniform(0, 0.55),
        "eye_shadow": rng.uniform(0.2, 0.8) if not male and rng.random() < 0.3 else 0.0,
        "mottle": rng.uniform(0.02, 0.08),
        "gloss": rng.uniform(0.2, 1.0),
        "lip_gloss": rng.uniform(0.1, 0.5) if male else rng.uniform(0.2, 1.0),
    }

    # Hair
    hair_colour, grey = _hair_colour(rng, age, ethnicity, melanin)
    bald = rng.random() < ((0.10 + 0.25 * max(0, (age - 35) / 50)) if male else 0.03)
    styles = (
        {"short01": 0.3, "short02": 0.3, "short04": 0.26, "short03": 0.03, "long01": 0.02, "ponytail01": 0.03}
        if male
        else {"long01": 0.27, "ponytail01": 0.25, "braid01": 0.2, "bob02": 0.04, "short02": 0.10, "short01": 0.07,
              "short04": 0.06, "short03": 0.01}
    )  # fmt: skip
    if ethnicity[2] > 0.5:
        styles["afro01"] = 0.25
    hair = None if bald else str(rng.choice(list(styles), p=np.array(list(styles.values())) / sum(styles.values())))
    brow_choice = [b for b in BROW_STYLES if b[-3:] in ("001", "006", "009", "010", "012")]
    brow_colour = np.minimum(hair_colour * 0.5, 0.11 + 0.1 * max(0.0, grey - 0.6)) * np.array([1.0, 0.95, 0.9])

    # Eyes
    p_brown = float(np.clip(0.35 + 0.9 * melanin + 0.5 * ethnicity[1], 0, 0.99))
    colour = str(rng.choice(["brown", "brownlight"], p=[0.7, 0.3]) if rng.random() < p_brown else
                 rng.choice([e for e in EYE_COLOURS if "brown" not in e]))  # fmt: skip
    eye_tint = np.exp(rng.normal(0, 0.12, 3)) * (np.array([0.42, 0.42, 0.34]) if colour == "brown" else 0.55)

    clothes = [c for c in CLOTHES if c.startswith("male" if male else "female")]
    saturation = rng.uniform(0, 0.75)
    cloth = np.clip(rng.uniform(0.03, 0.75) * (1 + saturation * rng.normal(0, 0.7, 3)), 0.012, 0.85)

    glasses = None
    if rng.random() < 0.16:
        glasses = {
            "width": rng.uniform(0.86, 1.12), "height": rng.uniform(0.62, 0.95), "square": rng.uniform(2.0, 4.5),
            "thickness": rng.choice([rng.uniform(0.012, 0.02), rng.uniform(0.025, 0.05)]),
            "colour": np.array([[0.02, 0.02, 0.02], [0.10, 0.05, 0.025], [0.30, 0.29, 0.28], [0.35, 0.25, 0.12],
                                [0.05, 0.02, 0.03], [0.03, 0.04, 0.09]])[rng.integers(6)],
        }  # fmt: skip
    return SyntheticPerson(
        seed=seed, male=male, age=age, ethnicity=ethnicity, targets=targets,
        relaxed={
            "blink": rng.uniform(0.02, 0.14), "squint": rng.uniform(0, 0.2), "smile": rng.uniform(0, 0.18),
            "brow_inner_up": rng.uniform(0, 0.2),
        },
        tone=np.clip(tone, 0.008, 0.7), skin_maps=maps, skin_blend=rng.uniform(0.25, 0.75),
        skin_contrast=rng.uniform(0.65, 1.05), lips=lips, paint=paint, eye_colour=colour, eye_tint=eye_tint,
        hair=hair, hair_volume=rng.uniform(0.8, 1.12), hair_colour=hair_colour, hair_mirror=bool(rng.random() < 0.5),
        scalp_hair=float(rng.choice([0, rng.uniform(0.3, 1)], p=[0.35, 0.65])) if bald else 0.85,
        brows=str(rng.choice(brow_choice)), brow_colour=brow_colour, brow_density=rng.uniform(0.65, 1.0),
        lashes=str(rng.choice(LASH_STYLES)), lash_density=rng.uniform(0.3, 0.6) if male else rng.uniform(0.55, 1.0),
        teeth=str(rng.choice(TEETH_STYLES)),
        teeth_tint=rng.uniform(1.0, 1.5) * np.array([1, rng.uniform(0.94, 1), rng.uniform(0.8, 0.98)]),
        clothes=str(rng.choice(clothes)), cloth_colour=cloth, cloth_mix=rng.uniform(0.6, 1.0),
        glasses=glasses,
    )  # fmt: skip


def _macro_targets(rng: np.random.Generator, male: bool, age: float, ethnicity: np.ndarray) -> dict[str, float]:
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
    bias = {"eyebrows-angle": rng.uniform(0.2, 0.45)}
    if not male:
        bias |= {
            "chin-width": -0.3, "chin-bones": -0.15, "chin-height": -0.2, "neck-scale-horiz": -0.25, "eye-scale": 0.2,
            "nose-scale-vert": -0.15, "nose-width3": -0.2, "nose-volume": -0.15, "nose-hump": -0.2,
            "mouth-scale-horiz": -0.12, "eyebrows-trans:up": 0.2,
        }  # fmt: skip
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


def _skin_maps(kit: Kit, rng, male: bool, age: float, ethnicity: np.ndarray) -> tuple[str, str]:
    del kit
    light = ethnicity[2] < 0.5
    sex = "male" if male else "female"
    if light:
        young = {"male": ["young_lightskinned_male", "young_lightskinned_male2", "young_lightskinned_male3"],
                 "female": ["young_lightskinned_female2", "young_lightskinned_female3"]}[sex]  # fmt: skip
        middle = {"male": ["middleage_lightskinned_male", "middleage_lightskinned_male2"],
                  "female": ["middleage_lightskinned_female2"]}[sex]  # fmt: skip
    else:
        young = {"male": ["young_darkskinned_male"], "female": ["middleage_darkskinned_female"]}[sex]
        middle = [f"middleage_darkskinned_{sex}"]
    old = [f"old_darkskinned_{sex}"]
    pool = (young if age < 42 else middle, young if age < 34 else middle if age < 58 else old)
    return str(rng.choice(pool[0])), str(rng.choice(pool[1]))


def _hair_colour(rng, age: float, ethnicity: np.ndarray, melanin: float) -> tuple[np.ndarray, float]:
    """Return the albedo and the share of grey."""
    dark = float(np.clip(0.55 * ethnicity[1] + 0.75 * ethnicity[2] + 0.8 * melanin, 0, 1))
    names = ["black", "dark", "brown", "chestnut", "red", "blond", "ash"]
    light = np.array([0.08, 0.22, 0.26, 0.12, 0.08, 0.16, 0.08])
    deep = np.array([0.66, 0.26, 0.05, 0.01, 0.005, 0.01, 0.005])
    p = (1 - dark) * light + dark * deep
    pick = rng.choice(names, p=p / p.sum(), size=2)
    mix = rng.uniform(0, 0.5)
    colour = (1 - mix) * np.array(HAIR_COLOURS[pick[0]]) + mix * np.array(HAIR_COLOURS[pick[1]])
    grey = float(np.clip((age - 48) / 30 + rng.normal(0, 0.22), 0, 1)) if age > 40 else 0.0
    grey_colour = np.array(HAIR_COLOURS["grey" if rng.random() < 0.6 else "white"])
    colour = colour * (1 - grey) + grey_colour * grey
    if rng.random() < 0.03:  # dyed
        colour = np.clip(rng.uniform(0.02, 0.4, 3), 0, 1)
    return colour * np.exp(rng.normal(0, 0.12)), grey
