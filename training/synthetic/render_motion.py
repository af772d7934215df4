"""Render people with correspondence between their frames, to train how a photograph moves.

    python -m training.synthetic.render_motion --assets DIR --out DIR --groups 100 --group-size 4 --frames 14

All people of a group perform the same motions, frame by frame. One shard a person, `OUT/g{group:05d}_p{k:02d}.npz`, see
`motion_shards.py`: every frame in two lights before two backgrounds, and its surface map. Existing shards are kept, so
a run resumes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from training.synthetic.assets import load_kit
from training.synthetic.motion import INDEX, sample_motions
from training.synthetic.motion_shards import pack_surfaces
from training.synthetic.person import sample_person
from training.synthetic.render import ground_truth
from training.synthetic.scene import sample_scene
from training.synthetic.shards import encode_jpegs, in_processes, is_missing, shared_renderer, write_arrays
from training.synthetic.subject import Subject
from training.synthetic.surfaces import SurfaceRenderer
from training.tools.programs import run_program
from vivface.errors import OptionError

JPEG_QUALITY = 92
OTHER_LIGHT = 500_000_000  # added to a person's seed: the seed of the second scene


def sample_wide_motions(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Motions as `sample_motions` draws them, with more shut eyes and raised brows, and fewer turned heads.

    Args:
        seed (`int`): The same seed always gives the same motions.
        count (`int`): Number of frames T.

    Returns:
        Controls `(T, K)` and poses `(T, 3)` in degrees, float32.
    """
    controls, pose = sample_motions(seed, count)
    rng = np.random.default_rng([seed, 29])
    small = rng.random(count) < 0.35  # expressions that differ without a turn show what a lid or lip does
    pose[small] *= 0.3
    lids = [INDEX["blink_left"], INDEX["blink_right"]]
    blink = rng.random(count) < 0.2
    controls[np.ix_(blink, lids)] = rng.uniform(0.4, 1.0, (int(blink.sum()), 1)).round(1)
    brows = rng.random(count) < 0.25
    amount = rng.uniform(0.5, 1.0, (int(brows.sum()), 1))
    controls[np.ix_(brows, [INDEX["brow_up_left"], INDEX["brow_up_right"]])] = amount
    controls[np.ix_(brows, [INDEX["brow_down_left"], INDEX["brow_down_right"]])] = 0
    return controls.astype(np.float32), pose.astype(np.float32)


def render_person(
    person_seed: int,
    motion: tuple[np.ndarray, np.ndarray],
    size: int = 256,
    supersample: int = 1,
    assets: str | None = None,
    cache: str | None = None,
) -> dict[str, np.ndarray]:
    """Render one person in two lights, with surface maps.

    Args:
        person_seed (`int`): Who; from `TEST_SEED` on: held-out people.
        motion (`tuple[np.ndarray, np.ndarray]`): Controls `(T, K)` and poses `(T, 3)` in degrees.
        size (`int`, *optional*, defaults to 256): Height and width, pixels.
        supersample (`int`, *optional*, defaults to 1): See `Renderer`.
        assets (`str`, *optional*): See `load_kit`.
        cache (`str`, *optional*): See `load_kit`.

    Returns:
        `dict[str, np.ndarray]`: the fields of a shard but `group`.
    """
    controls, pose = motion
    renderer = shared_renderer(assets, cache, size, supersample)
    person = sample_person(renderer.kit, person_seed)
    scene = sample_scene(person_seed, person.tone)
    other = replace(sample_scene(person_seed + OTHER_LIGHT, person.tone), distance=scene.distance)  # the same camera
    subject = Subject(renderer, person, scene)
    try:
        frames = list(renderer.render(subject, controls, pose))
        subject.scene = other
        frames += renderer.render(subject, controls, pose)
        surfaces = pack_surfaces(SurfaceRenderer(renderer).render(subject, controls, pose))
        truth = ground_truth(subject, controls, pose, size)
    finally:
        subject.release()
    data, offsets = encode_jpegs(np.stack(frames), JPEG_QUALITY)
    return truth | surfaces | {
        "jpeg_bytes": data, "jpeg_offsets": offsets, "person_seed": np.array(person_seed), "size": np.array(size),
    }  # fmt: skip


def _render_shard(options: argparse.Namespace, group: int, k: int) -> None:
    """Render person `k` of a group, unless the shard is there already."""
    path = Path(options.out) / f"g{group:05d}_p{k:02d}.npz"
    if not is_missing(path):
        return
    started = time.time()
    person_seed = options.seed + group * options.group_size + k
    motion = sample_wide_motions(options.seed + group, options.frames)  # shared by the group
    arrays = render_person(
        person_seed, motion, options.size, options.supersample, options.assets, options.cache
    )  # fmt: skip
    write_arrays(path, arrays | {"group": np.array(group)}, compressed=True)
    megabytes = path.stat().st_size / 1e6
    print(f"{path.name}: person {person_seed}, {time.time() - started:.1f} s, {megabytes:.2f} MB", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the head of this file.

    Raises:
        OptionError: If an option is out of its range or the assets are not complete.
        BackendError: If nothing can be rendered.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic.render_motion", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--assets", help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    parser.add_argument("--cache", help="folder of the parsed assets (default: VIVFACE_CACHE or ~/.cache/vivface)")
    parser.add_argument("--out", required=True)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--first-group", type=int, default=0)
    parser.add_argument("--group-size", type=int, default=4, help="people who perform the same motions")
    parser.add_argument("--frames", type=int, default=14, help="frames a person")
    parser.add_argument("--seed", type=int, default=50_001, help="first person seed; from 900000 on: held-out people")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--supersample", type=int, default=1, choices=(1, 2))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    for name in ("groups", "group_size", "frames", "workers"):
        if getattr(options, name) < 1:
            raise OptionError(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected 1 or more.")
    Path(options.out).mkdir(parents=True, exist_ok=True)
    load_kit(options.assets, options.cache)  # parse once, before the workers start
    groups = range(options.first_group, options.first_group + options.groups)
    tasks = [(group, k) for group in groups for k in range(options.group_size)]
    if options.workers == 1:
        for task in tasks:
            _render_shard(options, *task)
    else:
        in_processes(partial(_render_shard, options), tasks, options.workers)


if __name__ == "__main__":
    run_program(main)
