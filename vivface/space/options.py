"""How a portrait is re-enacted: every option of page and endpoints, stated once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from vivface.editing import parse_edits
from vivface.errors import OptionError
from vivface.warping.parts import Parts

MAX_HEIGHT = 1080
PART_OPTIONS = ("mouth", "eyes", "brows", "pose", "keep_lips_shut", "eye_contact", "blink_rate")
ONLY_FILMS = ("head", "fit", "sound", "film_start", "film_duration")
FILM_OPTIONS = (
    *("face", "driving_face", "faces", *ONLY_FILMS, "start", "duration", "motion_mode", "strength", "smoothing"),
    *(name for name in PART_OPTIONS if name != "pose"),
    *("compare", "label"),
)


def option(default: Any, label: str, help: str, *, info: str | None = None, **limits: Any) -> Any:
    """A dataclass field with what people and programs read about it.

    Args:
        default: Value where nothing is given; its type is the option's.
        label (`str`): On the page.
        help (`str`): For programs, one sentence part; the range is added to it.
        info (`str`, *optional*): Small print on the page.
        limits: `low` and `high` of a number, `step` of a slider, `choices`, pairs of words and value, or `longest`,
            the number of characters of a text.
    """
    kind = type(default)
    metadata = dict(label=label, help=help, info=info, kind=kind, **limits)
    return field(default_factory=dict, metadata=metadata) if kind is dict else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Everything that can be chosen for a run; see the fields' metadata.

    Raises:
        OptionError: If a value is of another kind or out of its range.
    """

    face: int = option(0, "Face of the portrait", "Face of the portrait, 0 the largest", low=0)
    driving_face: int = option(0, "Face of the video", "Face of the driving video, 0 the largest", low=0)
    faces: str = option(
        "",
        "Several faces at once",
        "Several faces of the portrait, each with a face of the video that drives it, counted from 0, as 0:0,1:1; or "
        "all, for one driver of all; empty for one face",
        info="Pairs of a face and the face of the driving video that moves it, by number: 1:1, 2:2; or all. Empty: "
        "only the chosen face.",
        longest=200,
    )
    detail: bool = option(
        True,
        "Move the photograph itself",
        "Move the photograph itself, if the checkpoint is made for it; else show the generator's images",
        info="Off: the generator's own images.",
    )
    adapt: bool = option(
        True,
        "Learn this portrait first",
        "Tune to the portrait first, if the checkpoint is made for it: slower, a closer likeness",
        info="A closer likeness in the generator's own images; done once for each portrait.",
    )
    refine: bool = option(
        True,
        "Bring back fine detail of the portrait",
        "Bring back fine detail of the portrait",
        info="A second pass; a little slower.",
    )
    paste_back: bool = option(False, "Put the face back into the whole photo", "Put the face back into the whole photo")
    motion_mode: str = option(
        "absolute",
        "What to take from the driving video",
        "'absolute' takes over pose and expression of the driver, 'relative' only the movements",
        info="Movements only: they start from the pose and expression that are there.",
        choices=[("Pose and expression", "absolute"), ("Movements only", "relative")],
    )
    strength: float = option(
        1.0,
        "Strength of the motion",
        "Strength of the motion, 1 is the driver's own",
        info="1: as in the driving video.",
        low=0,
        high=2,
        step=0.05,
    )
    mouth: float = option(
        1.0,
        "Mouth",
        "Strength of mouth and jaw: 0 is the portrait's own, 1 the driver's",
        low=0,
        high=2,
        step=0.05,
    )
    eyes: float = option(
        1.0,
        "Eyes",
        "Strength of lids and gaze: 0 is the portrait's own, 1 the driver's",
        low=0,
        high=2,
        step=0.05,
    )
    brows: float = option(
        1.0,
        "Brows",
        "Strength of the brows: 0 is the portrait's own, 1 the driver's",
        low=0,
        high=2,
        step=0.05,
    )
    pose: float = option(
        1.0,
        "Head pose",
        "Strength of turn, place and size of the head: 0 is the portrait's own, 1 the driver's",
        low=0,
        high=2,
        step=0.05,
    )
    keep_lips_shut: bool = option(False, "Keep the lips shut", "Lips stay shut")
    eye_contact: bool = option(False, "Look into the camera", "The eyes look into the camera however the head turns")
    blink_rate: float = option(
        -1.0,
        "Blinks per minute",
        "Blinks a minute instead of the driver's short ones, -1 leaves the driver's",
        info="-1: as in the driving video.",
        low=-1,
        high=60,
    )
    smoothing: float = option(
        0.0,
        "Smoothing, in seconds",
        "Seconds over which the motion is smoothed",
        info="Calms jitter; too much slurs speech.",
        low=0,
        high=0.5,
        step=0.01,
    )
    start: float = option(0.0, "Start at second", "Where in the video to begin, seconds", low=0, high=100_000)
    duration: float = option(
        0.0,
        "Duration in seconds",
        "How much of the video to use, seconds, 0 to the end",
        info="0: to the end",
        low=0,
        high=100_000,
    )
    height: int = option(
        0,
        "Size of the video",
        "Height of the result in pixels, even and at least 64, or 0 as it is made",
        low=0,
        high=MAX_HEIGHT,
        choices=[("Original size", 0), ("256 pixels high", 256), ("512 pixels high", 512), ("720 pixels high", 720)],
    )
    background: str = option(
        "keep",
        "Background",
        "What lies behind the person: 'keep' the photograph's own, or a colour, where the photograph itself moves",
        info="Only where the photograph itself moves and is not put back into the whole photo.",
        choices=[("As in the photo", "keep"), ("White", "white"), ("Black", "black"), ("Green screen", "#00b140")],
    )
    compare: bool = option(
        False,
        "Also make a side-by-side video",
        "Also make a video of portrait, driving video and result side by side",
    )
    label: bool = option(
        False,
        'Write "AI-generated" into a corner',
        'Write "AI-generated" visibly into a corner of the result',
        info="In addition to the invisible marks.",
    )
    head: str = option(
        "keep",
        "Head of the film",
        "Of a film: 'keep' lets the head move as it does in the film, 'replace' turns it as the driver's",
        info="Its pose and movement; the expression is always that of the driving video.",
        choices=[("Moves as in the film", "keep"), ("Turns as in the driving video", "replace")],
    )
    fit: str = option(
        "trim",
        "If the driving video is shorter",
        "What follows the end of a driver that is shorter than the film: 'trim' ends the result, 'loop' begins it "
        "again, 'hold' keeps its last frame, 'mirror' plays it backwards and forwards",
        choices=[
            ("End there", "trim"),
            ("Start it again", "loop"),
            ("Hold its last frame", "hold"),
            ("Play it back and forth", "mirror"),
        ],
    )
    sound: str = option(
        "source",
        "Sound",
        "Of a film's result: 'source' keeps the film's sound, 'driving' takes the driver's",
        choices=[("Of the film", "source"), ("Of the driving video", "driving")],
    )
    film_start: float = option(
        0.0, "Start of the film at second", "Where in the film to begin, seconds", low=0, high=100_000
    )
    film_duration: float = option(
        0.0,
        "Seconds of the film",
        "How much of the film to use, seconds, 0 to the end",
        info="0: to the end",
        low=0,
        high=100_000,
    )
    edits: dict[str, float] = option({}, "Edits: amounts by name", "Amounts by name, see list_edits")
    timeline: str = option(
        "",
        "Edits over time",
        "Edits that change over time, one a line or separated by semicolons: name=second:amount,second:amount",
        info="One per line: smile=0:0,2.5:1 is a smile that grows until second 2.5. In the video it replaces the "
        "slider of the same name.",
        longest=2000,
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _checked(item, getattr(self, item.name)))
        if not re.fullmatch(r"\s*(all|\d+:\d+(\s*,\s*\d+:\d+)*)?\s*", self.faces):
            raise OptionError(f"`faces` is {self.faces!r}; expected all, or numbers of faces in pairs, as 0:0,1:1.")
        if self.height and (self.height < 64 or self.height % 2):
            raise OptionError(f"`height` is {self.height}; expected 0, or an even number from 64 to {MAX_HEIGHT}.")

    @property
    def parts(self) -> Parts:
        """Strengths of the parts of the motion."""
        names = ("mouth", "eyes", "brows", "pose", "keep_lips_shut", "eye_contact")
        rate = None if self.blink_rate < 0 else self.blink_rate
        return Parts(**{name: getattr(self, name) for name in names}, blink_rate=rate)

    @property
    def timed_edits(self) -> dict[str, float | dict[float, float]]:
        """The edits of `timeline`, by name.

        Raises:
            OptionError: If one is not understood, or a name comes twice.
        """
        return parse_edits([line for line in re.split(r"[;\n]", self.timeline) if line.strip()])

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Options from what a form or a program gave; None means the default.

        Raises:
            OptionError: If a value is of another kind or out of its range.
        """
        return cls(**{name: value for name, value in values.items() if value is not None})

    def shows_detail(self, offered: bool) -> bool:
        """Whether the photograph is moved; `offered`: what the checkpoint is made for."""
        return self.detail and offered

    def shown_background(self, offered: bool) -> str:
        """What lies behind the person; the photograph's own where nothing else can."""
        return self.background if self.shows_detail(offered) and not self.paste_back else "keep"

    @property
    def key(self) -> tuple:
        """The same for the same options."""
        values = [getattr(self, item.name) for item in fields(self)]
        return tuple(tuple(sorted(value.items())) if isinstance(value, dict) else value for value in values)


def option_fields() -> dict[str, Field]:
    """All options by name, in order."""
    return {item.name: item for item in fields(Options)}


def portrait_options() -> tuple[str, ...]:
    """Names of the options of a run with a portrait; those of a run with a film are `FILM_OPTIONS`."""
    return tuple(name for name in option_fields() if name not in ONLY_FILMS)


def options_in_words(options: Options) -> str:
    """What was chosen, as people read it: everything that is not as it is by default."""
    words = []
    for name, item in option_fields().items():
        value, about = getattr(options, name), item.metadata
        if name != "edits" and value != item.default:
            words.append(_in_words(about["label"], value, dict((x, word) for word, x in about.get("choices", ()))))
    words += [f"{name} {amount:g}" for name, amount in options.edits.items() if amount]
    return ", ".join(words) or "default settings"


def describe(item: Field) -> str:
    """One sentence about an option for programs, with its range."""
    low, high = item.metadata.get("low"), item.metadata.get("high")
    if low is None:
        return f"{item.metadata['help']}."
    return (
        f"{item.metadata['help']} ({low:g} or more)."
        if high is None
        else (f"{item.metadata['help']} ({low:g} to {high:g}).")
    )


def check_value(name: str, value: Any) -> Any:
    """One value of an option, checked.

    Raises:
        OptionError: If it is of another kind or out of its range.
    """
    item = option_fields()[name]
    return item.default if value is None else _checked(item, value)


def _in_words(label: str, value: Any, choices: Mapping[Any, str]) -> str:
    """Such as "Mouth 1.2", "Sound: Of the film" or "not: Bring back fine detail of the portrait"."""
    if isinstance(value, bool):
        return label if value else f"not: {label}"
    if value in choices:
        return f"{label}: {choices[value]}"
    return f"{label} {value:g}" if isinstance(value, int | float) else f"{label}: {value}"


def _checked(item: Field, value: Any) -> Any:
    """The value in its own type."""
    kind, low, high = item.metadata["kind"], item.metadata.get("low"), item.metadata.get("high")
    shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
    if kind is bool and not isinstance(value, bool):
        raise OptionError(f"`{item.name}` is {shown}; expected true or false.")
    if kind is dict and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise OptionError(f"`{item.name}` is {shown}; expected amounts by name, such as {{'smile': 0.5}}.")
    if kind is str and "longest" in item.metadata:
        if not isinstance(value, str) or len(value) > item.metadata["longest"]:
            raise OptionError(
                f"`{item.name}` is {shown}; expected a text of at most {item.metadata['longest']} letters."
            )
        return value
    if kind is str and value not in (choices := [choice for _, choice in item.metadata["choices"]]):
        raise OptionError(f"`{item.name}` is {shown}; expected {' or '.join(map(repr, choices))}.")
    if kind in (int, float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        whole = is_number and (kind is float or value == int(value))
        if not (whole and value >= low and (high is None or value <= high)):
            expected = "a number" if kind is float else "a whole number"
            limit = f"from {low:g} to {high:g}" if high is not None else f"from {low:g}"
            raise OptionError(f"`{item.name}` is {shown}; expected {expected} {limit}.")
        return kind(value)
    return dict(value) if kind is dict else value
