"""Pairs of portrait and driving video: held-out synthetic people, or files of two folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vivface.errors import OptionError
from vivface.media import VideoWriter, save_image

FIRST_SEED = 901_000  # training.synthetic.person.TEST_SEED and up: held-out people
NEXT_DRIVING = 7  # person k is driven by person k + 7
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Pair:
    """A portrait and the video that drives it.

    Attributes:
        name (`str`): Of its video.
        source, driving (`Path`): Image and video.
        mode (`str`): `"cross"`, or `"same"` if both show one recording.
    """

    name: str
    source: Path
    driving: Path
    mode: str = "cross"


# ---------------------------------------------------------------- what is driven by what


def render_people(
    folder: Path,
    people: int,
    frames: int,
    fps: int,
    size: int,
    assets: Path | None = None,
    first_seed: int = FIRST_SEED,
) -> list[tuple[Path, Path]]:
    """Portrait and clip of held-out people; existing files are not rendered again.

    Args:
        folder (`Path`): Keeps the files.
        people (`int`): How many.
        frames (`int`): Of each clip.
        fps (`int`): Frames per second.
        size (`int`): Of the clips, pixels.
        assets (`Path`, *optional*): MakeHuman data folder.
        first_seed (`int`, *optional*, defaults to 901000): Of the people; from 900000 on: held out.

    Returns:
        `list[tuple[Path, Path]]`: PNG and MP4 of each person.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed in range(first_seed, first_seed + people):
        stem = f"{seed}_{size}px_{frames}frames_{fps}fps"
        portrait, clip = folder / f"{stem}.png", folder / f"{stem}.mp4"
        if not (portrait.exists() and clip.exists()):
            images = write_clip(clip, seed, seed, frames, fps, size, assets)
            save_image(portrait, images[0])
        files.append((portrait, clip))
    return files


def write_clip(
    path: Path, person: int, mover: int, frames: int, fps: int, size: int, assets: Path | None
) -> np.ndarray:
    """Render one person in their own light performing another's (or their own) motion.

    Args:
        path (`Path`): Video to write.
        person, mover (`int`): Seeds of who is shown and of whose motion.
        frames (`int`): How many.
        fps (`int`): Frames per second.
        size (`int`): Pixels.
        assets (`Path`, *optional*): MakeHuman data folder.

    Returns:
        `np.ndarray` of shape `(frames, size, size, 3)`: uint8 RGB.
    """
    from training.synthetic.render import render_clip  # here, as it needs OpenGL

    images = render_clip(person, mover + 5000, frames, fps, size, assets=assets)["frames"]
    with VideoWriter(path, (size, size), fps, crf=12) as writer:
        for image in images:
            writer.write(image)
    print(f"rendered {path.name}", flush=True)
    return images


def pairs_of_people(people: list[tuple[Path, Path]], own: list[tuple[Path, Path]]) -> list[Pair]:
    """Everybody driven by somebody else, and by their own clip.

    Args:
        people, own (`list[tuple[Path, Path]]`): Portraits and clips for the two modes, in the same order.
    """
    pairs = []
    for index, (portrait, clip) in enumerate(people):
        other = people[(index + NEXT_DRIVING) % len(people)][1]
        if other != clip:
            pairs.append(Pair(f"{index:02d}_cross", portrait, other))
        pairs.append(Pair(f"{index:02d}_same", *own[index], "same"))
    return pairs


def pairs_of_folders(sources: Path, driving: Path) -> list[Pair]:
    """Every image of one folder with every video of the other.

    Raises:
        OptionError: If a folder is missing or has no such file.
    """
    found = []
    for folder, suffixes, kind in ((sources, IMAGES, "images"), (driving, VIDEOS, "videos")):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes) if folder.is_dir() else []
        if not files:
            raise OptionError(f"--pairs names {str(folder)!r}, which is no folder with {kind} ({', '.join(suffixes)}).")
        found.append(files)
    return [Pair(f"{source.stem}__{video.stem}", source, video) for source in found[0] for video in found[1]]
