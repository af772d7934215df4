"""`SyntheticPerson`: everything that stays the same while a head moves, drawn from one integer seed.

Seeds from `TEST_SEED` upward are people held out for evaluation: never render training data with them.
Colours are linear-light albedos, RGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthetic.kit import BROW_STYLES, CLOTHES, EYE_COLOURS, LASH_STYLES, TEETH_STYLES, Kit
from training.synthetic.morphs import sample_targets

TEST_SEED = 900_000

FAIR, DARK = np.array([0.56, 0.40, 0.32]), np.array([0.046, 0.019, 0.011])
HAIR_COLOURS = {  # albedo of the lit strand
    "black": (0.018, 0.015, 0.014), "dark": (0.050, 0.032, 0.022), "brown": (0.115, 0.066, 0.038),
    "chestnut": (0.16, 0.075, 0.035), "red": (0.30, 0.105, 0.035), "blond": (0.46, 0.31, 0.14),
    "ash": (0.36, 0.28, 0.18), "grey": (0.33, 0.33, 0.33), "white": (0.66, 0.65, 0.62),
}  # fmt: skip
HAIR_OF_MEN = {"short01": 0.3, "short02": 0.3, "short04": 0.26, "short03": 0.03, "long01": 0.02, "ponytail01": 0.03}
HAIR_OF_WOMEN = {
    "long01": 0.27, "ponytail01": 0.25, "braid01": 0.2, "bob02": 0.04, "short02": 0.10, "short01": 0.07,
    "short04": 0.06, "short03": 0.01,
}  # fmt: skip
GLASSES_COLOURS = np.array(
    [[0.02, 0.02, 0.02], [0.10, 0.05, 0.025], [0.30, 0.29, 0.28], [0.35, 0.25, 0.12], [0.05, 0.02, 0.03],
     [0.03, 0.04, 0.09]]
)  # fmt: skip


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
    """Draw a person.

    Args:
        kit (`Kit`): The parsed assets, which know the morph targets.
        seed (`int`): The same seed always gives the same person; from `TEST_SEED` on: held out.

    Returns:
        `SyntheticPerson`: Who it is.
    """
    rng = np.random.default_rng([seed, 11])
    male = bool(rng.random() < 0.5)
    age = float(np.clip(rng.choice([rng.normal(30, 7), rng.uniform(25, 80)], p=[0.6, 0.4]), 25, 82))
    if rng.random() < 0.68:
        ethnicity = np.full(3, 0.05) + 0.85 * np.eye(3)[rng.choice(3, p=[0.42, 0.29, 0.29])]
    else:
        ethnicity = rng.dirichlet([0.9, 0.7, 0.7])
    targets = sample_targets(kit, rng, male, age, ethnicity)
    melanin = float(np.clip(ethnicity @ [0.16, 0.27, 0.76] + rng.normal(0, 0.11), 0, 1))
    tone = np.exp(np.log(FAIR) * (1 - melanin) + np.log(DARK) * melanin)
    tone *= np.exp(rng.normal(0, [0.05, 0.03, 0.05])) * np.exp(rng.normal(0, 0.08))
    maps = _sample_skin_maps(rng, male, age, ethnicity)
    lips = _sample_lips(rng, male)
    paint = _sample_paint(rng, male, melanin)
    hair_colour, grey = _sample_hair_colour(rng, age, ethnicity, melanin)
    hair = _sample_hair_style(rng, male, age, ethnicity)
    brow_colour = np.minimum(hair_colour * 0.5, 0.11 + 0.1 * max(0.0, grey - 0.6)) * np.array([1.0, 0.95, 0.9])
    eye_colour, eye_tint = _sample_eyes(rng, ethnicity, melanin)
    saturation = rng.uniform(0, 0.75)
    cloth = np.clip(rng.uniform(0.03, 0.75) * (1 + saturation * rng.normal(0, 0.7, 3)), 0.012, 0.85)
    glasses = _sample_glasses(rng)
    return SyntheticPerson(
        seed=seed, male=male, age=age, ethnicity=ethnicity, targets=targets, relaxed=_sample_relaxed(rng),
        tone=np.clip(tone, 0.008, 0.7), skin_maps=maps, lips=lips, paint=paint, eye_colour=eye_colour,
        eye_tint=eye_tint, hair=hair, hair_colour=hair_colour, brow_colour=brow_colour, cloth_colour=cloth,
        glasses=glasses, **_sample_details(rng, male, bald=hair is None),
    )  # fmt: skip


def _sample_relaxed(rng: np.random.Generator) -> dict[str, float]:
    """Controls of the neutral face; without them people stare."""
    return {
        "blink": rng.uniform(0.02, 0.14),
        "squint": rng.uniform(0, 0.2),
        "smile": rng.uniform(0, 0.18),
        "brow_inner_up": rng.uniform(0, 0.2),
    }


def _sample_details(rng: np.random.Generator, male: bool, bald: bool) -> dict:
    """The fields of a person that depend on little else, in the order in which they have always been drawn."""
    blend, contrast, volume = rng.uniform(0.25, 0.75), rng.uniform(0.65, 1.05), rng.uniform(0.8, 1.12)
    rng.random()  # once drawn for a field that is gone; keeps the people of all seeds as they are
    scalp_hair = float(rng.choice([0, rng.uniform(0.3, 1)], p=[0.35, 0.65])) if bald else 0.85
    brows = [b for b in BROW_STYLES if b[-3:] in ("001", "006", "009", "010", "012")]  # the others look angry
    clothes = [c for c in CLOTHES if c.startswith("male" if male else "female")]
    return {
        "skin_blend": blend,
        "skin_contrast": contrast,
        "hair_volume": volume,
        "scalp_hair": scalp_hair,
        "brows": str(rng.choice(brows)),
        "brow_density": rng.uniform(0.65, 1.0),
        "lashes": str(rng.choice(LASH_STYLES)),
        "lash_density": rng.uniform(0.3, 0.6) if male else rng.uniform(0.55, 1.0),
        "teeth": str(rng.choice(TEETH_STYLES)),
        "teeth_tint": rng.uniform(1.0, 1.5) * np.array([1, rng.uniform(0.94, 1), rng.uniform(0.8, 0.98)]),
        "clothes": str(rng.choice(clothes)),
        "cloth_mix": rng.uniform(0.6, 1.0),
    }


def _sample_lips(rng: np.random.Generator, male: bool) -> np.ndarray:
    """Factor `(3,)` on the albedo of the lips."""
    depth = rng.uniform(0.0, 0.5) if male else rng.uniform(0.1, 1.0)
    lips = np.exp(depth * np.log(np.array([0.92, 0.66, 0.70]))) * np.exp(rng.normal(0, 0.04, 3))
    if not male and rng.random() < 0.25:  # lipstick
        lips *= np.array([[0.95, 0.45, 0.5], [0.8, 0.5, 0.6], [1.0, 0.62, 0.55]])[rng.integers(3)]
    return lips


def _sample_paint(rng: np.random.Generator, male: bool, melanin: float) -> dict[str, float]:
    """How much of each kind of paint the skin wears; see `paint.py`."""
    beard = male and rng.random() < 0.55
    return {
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


def _sample_hair_style(rng: np.random.Generator, male: bool, age: float, ethnicity: np.ndarray) -> str | None:
    """Name of a style, or None for shaved and bald heads."""
    bald = rng.random() < ((0.10 + 0.25 * max(0, (age - 35) / 50)) if male else 0.03)
    styles = dict(HAIR_OF_MEN if male else HAIR_OF_WOMEN)
    if ethnicity[2] > 0.5:
        styles["afro01"] = 0.25
    shares = np.array(list(styles.values()))
    return None if bald else str(rng.choice(list(styles), p=shares / sum(styles.values())))


def _sample_eyes(rng: np.random.Generator, ethnicity: np.ndarray, melanin: float) -> tuple[str, np.ndarray]:
    """Name of an iris, and a factor `(3,)` on its colour."""
    p_brown = float(np.clip(0.35 + 0.9 * melanin + 0.5 * ethnicity[1], 0, 0.99))
    if rng.random() < p_brown:
        colour = str(rng.choice(["brown", "brownlight"], p=[0.7, 0.3]))
    else:
        colour = str(rng.choice([e for e in EYE_COLOURS if "brown" not in e]))
    return colour, np.exp(rng.normal(0, 0.12, 3)) * (np.array([0.42, 0.42, 0.34]) if colour == "brown" else 0.55)


def _sample_glasses(rng: np.random.Generator) -> dict | None:
    """The style of a frame (`thickness` in dm, the others relative), or None for most people."""
    if rng.random() >= 0.16:
        return None
    return {
        "width": rng.uniform(0.86, 1.12),
        "height": rng.uniform(0.62, 0.95),
        "square": rng.uniform(2.0, 4.5),
        "thickness": rng.choice([rng.uniform(0.012, 0.02), rng.uniform(0.025, 0.05)]),
        "colour": GLASSES_COLOURS[rng.integers(len(GLASSES_COLOURS))],
    }


def _sample_skin_maps(rng: np.random.Generator, male: bool, age: float, ethnicity: np.ndarray) -> tuple[str, str]:
    """Names of the two maps whose detail is blended."""
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


def _sample_hair_colour(
    rng: np.random.Generator, age: float, ethnicity: np.ndarray, melanin: float
) -> tuple[np.ndarray, float]:
    """Albedo `(3,)` and the share of grey in [0, 1]."""
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
