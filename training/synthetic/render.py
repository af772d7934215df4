"""Render synthetic heads: training shards from the command line, clips from Python or with `--clip`.

    python -m training.synthetic.render --assets DIR --out DIR --groups 60 --group-size 8 --frames 80 --size 224

All people of a group perform the same sequence of motions, so "person A doing motion j" is known for every A and j.
One shard a person, `OUT/g{group:05d}_p{k:02d}.npz`: `jpeg_bytes` (uint8, all JPEG frames in a row), `jpeg_offsets`
(int64, T + 1), `landmarks` (T, 68, 2) in pixels (x right, y down, pixel (0, 0) covers [0, 1) x [0, 1)),
`neutral_landmarks` (68, 2) of the neutral frontal head in the same camera, `controls` (T, K), `control_names`,
`pose` (T, 3) yaw, pitch, roll in degrees, `person_seed`, `group`, `size`. Existing shards are kept, so a run resumes.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from training.synthetic.assets import load_kit
from training.synthetic.motion import CONTROLS, sample_clip, sample_motions
from training.synthetic.person import sample_person
from training.synthetic.scene import sample_scene
from training.synthetic.shards import encode_jpegs, in_processes, is_missing, shared_renderer, write_arrays
from training.synthetic.subject import Subject
from training.tools.programs import run_program
from vivface.errors import OptionError

JPEG_QUALITY = 95


def render_clip(
    person_seed: int,
    motion_seed: int,
    n_frames: int,
    fps: float = 25.0,
    size: int = 512,
    supersample: int = 2,
    *,
    scene_seed: int | None = None,
    motion: tuple[np.ndarray, np.ndarray] | None = None,
    assets: str | None = None,
    cache: str | None = None,
) -> dict:
    """Render one person.

    Args:
        person_seed (`int`): Who; from `TEST_SEED` on: held-out people.
        motion_seed (`int`): Which clip of `sample_clip`.
        n_frames (`int`): Frames of that clip.
        fps (`float`, *optional*, defaults to 25.0): Frames a second.
        size (`int`, *optional*, defaults to 512): Height and width, pixels.
        supersample (`int`, *optional*, defaults to 2): See `Renderer`.
        scene_seed (`int`, *optional*): Light and background; by default those of the person's seed.
        motion (`tuple[np.ndarray, np.ndarray]`, *optional*): Controls `(T, K)` and poses `(T, 3)` instead of a clip.
        assets (`str`, *optional*): See `load_kit`.
        cache (`str`, *optional*): See `load_kit`.

    Returns:
        `dict`: `frames` `(T, size, size, 3)` uint8 RGB, `landmarks` `(T, 68, 2)` and `neutral_landmarks` `(68, 2)` in
        pixels, `controls` `(T, K)`, `control_names`, `pose` `(T, 3)` in degrees, `person_seed`, `motion_seed`, `fps`,
        `size`.
    """
    controls, pose = motion or sample_clip(motion_seed, n_frames, fps)
    renderer = shared_renderer(assets, cache, size, supersample)
    person = sample_person(renderer.kit, person_seed)
    subject = Subject(renderer, person, sample_scene(person_seed if scene_seed is None else scene_seed, person.tone))
    try:
        frames = np.stack(list(renderer.render(subject, controls, pose)))
        return {
            "frames": frames, **ground_truth(subject, controls, pose, size), "person_seed": person_seed,
            "motion_seed": motion_seed, "fps": fps, "size": size,
        }  # fmt: skip
    finally:
        subject.release()


def ground_truth(subject: Subject, controls: np.ndarray, pose: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """What is known of frames: landmarks in pixels, expression and pose; see `render_clip`."""
    posed = subject.head.landmarks_at(controls, pose)
    return {
        "landmarks": subject.project(posed, size).astype(np.float32),
        "neutral_landmarks": subject.project(subject.head.landmarks, size).astype(np.float32),
        "controls": controls.astype(np.float32),
        "control_names": np.array(CONTROLS),
        "pose": pose.astype(np.float32),
    }


def write_shard(path: Path, clip: dict, group: int) -> None:
    """Write a clip of `render_clip` as a shard; the file appears under its name only when it is complete."""
    arrays = {key: clip[key] for key in ("landmarks", "neutral_landmarks", "controls", "control_names", "pose")}
    arrays |= {"person_seed": clip["person_seed"], "size": clip["size"], "group": group}
    arrays["jpeg_bytes"], arrays["jpeg_offsets"] = encode_jpegs(clip["frames"], JPEG_QUALITY)
    write_arrays(path, arrays)


def _render_shard(options: argparse.Namespace, group: int, k: int) -> None:
    """Render person `k` of a group, unless the shard is there already."""
    path = Path(options.out) / f"g{group:05d}_p{k:02d}.npz"
    if not is_missing(path):
        return
    started, cpu = time.time(), time.process_time()
    person_seed = options.seed + group * options.group_size + k
    motion_seed = options.seed + group  # shared by the group
    motion = sample_motions(motion_seed, options.frames)
    clip = render_clip(
        person_seed, motion_seed, options.frames, size=options.size, supersample=options.supersample,
        motion=motion, assets=options.assets, cache=options.cache,
    )  # fmt: skip
    write_shard(path, clip, group)
    spent, cpu = time.time() - started, time.process_time() - cpu
    per_frame = f"{1000 * spent / options.frames:.0f} ms ({1000 * cpu / options.frames:.0f} CPU-ms) a frame"
    print(f"{path.name}: person {person_seed}, {spent:.1f} s, {per_frame} with setup", flush=True)


def render_shards(options: argparse.Namespace) -> None:
    """Render every missing shard in `options.workers` processes; with one worker, in this process.

    Raises:
        OptionError: If an option is out of its range or the assets are not complete.
        BackendError: If the processes crash without having made anything.
    """
    for name in ("groups", "group_size", "frames", "workers"):
        if getattr(options, name) < 1:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected 1 or more.")
    Path(options.out).mkdir(parents=True, exist_ok=True)
    load_kit(options.assets, options.cache)  # parse once, before the workers start
    first = options.first_group
    tasks = [(g, k) for g in range(first, first + options.groups) for k in range(options.group_size)]
    if options.workers == 1:
        for task in tasks:
            _render_shard(options, *task)
        return
    in_processes(partial(_render_shard, options), tasks, options.workers)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(prog="python -m training.synthetic.render", description=__doc__.split("\n")[0])
    parser.add_argument("--assets", help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    parser.add_argument("--cache", help="folder of the parsed assets (default: VIVFACE_CACHE or ~/.cache/vivface)")
    parser.add_argument("--out", required=True)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--first-group", type=int, default=0)
    parser.add_argument("--group-size", type=int, default=8, help="people who perform the same motions")
    parser.add_argument("--frames", type=int, default=96, help="frames a person")
    parser.add_argument("--seed", type=int, default=1, help="first person seed; from 900000 on: held-out people")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--supersample", type=int, default=1, choices=(1, 2))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clip", action="store_true", help="write one smooth clip as PNG frames instead of shards")
    parser.add_argument("--motion-seed", type=int, default=1, help="with --clip")
    options = parser.parse_args(arguments)
    if not options.clip:
        render_shards(options)
        return
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    clip = render_clip(
        options.seed, options.motion_seed, options.frames, size=options.size, supersample=options.supersample,
        assets=options.assets, cache=options.cache,
    )  # fmt: skip
    for i, frame in enumerate(clip.pop("frames")):
        cv2.imwrite(str(out / f"{i:05d}.png"), frame[..., ::-1])
    np.savez(out / "truth.npz", **clip)


if __name__ == "__main__":
    run_program(main)
