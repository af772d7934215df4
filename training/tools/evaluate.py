"""Score a checkpoint with an independent program: on held-out synthetic people, or on real pictures and videos.

    python -m training.tools.evaluate --scorer FILE                          # 20 people, driven by others and by themselves
    python -m training.tools.evaluate --scorer FILE --pairs SOURCES DRIVING  # every picture with every video of two folders

The scorer is a Python file with `Models()`, `analyse(path, models, limit, id_every, cache)` and `evaluate(source,
driving, output, mode=..., models=..., cache=...)` that knows nothing of this project.

People: no training shard contains them (seeds from 900000 on). Person k's portrait is driven by the clip of person
k + 7 ("cross") and, from its first frame on, by a clip of their own ("same"), where the truth is known. The former last
six seconds, as real driving clips do: in two, many a head hardly nods, and landmarks of true pictures correlate no more
than 0.74. The latter last 2.4: pictures are compared in one crop of the whole clip, the result's follows the head, and
in six seconds heads go so far that true pictures score 18.5 dB. Clips are rendered once and kept. With `--truth`,
renders of the source performing the driver's motion, in crops of the checkpoint's size, are scored in place of results:
no checkpoint of that size can be expected to score more. Either way a table is printed, `table.json` holds every
number, and `--sheet FILE` shows the pairs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np

from training.tools.programs import run_program
from vivface.errors import MediaError, OptionError, VivFaceError
from vivface.media import VideoReader, VideoWriter, check_output, load_image, save_image
from vivface.reenactment.driving import DrivingVideo

FIRST_SEED = 901_000  # training.synthetic.person.TEST_SEED and up: people held out
NEXT_DRIVER = 7  # person k is driven by person k + 7
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")

GOALS = {  # of the means over synthetic people, by mode
    "cross": {"yaw": 0.9, "pitch": 0.8, "mouth_open": 0.8, "eye_open": 0.6, "closer_to_source": 0.95},
    "same": {"psnr_same": 20.0},
}
PAIR_GOALS = {"face_found": 0.95, "yaw": 0.6, "mouth_open": 0.4}  # of every pair of real media
PAIR_COLUMNS = (
    "face_found", "yaw", "pitch", "roll", "mouth_open", "eye_open", "jitter_ratio", "id_l2", "closer_to_source",
)  # fmt: skip

Row = dict[str, float | str | None]


@dataclass(frozen=True)
class Pair:
    """A picture and the video that shall drive it; `mode` is "cross", or "same" if both show one recording."""

    name: str
    source: Path
    driving: Path
    mode: str = "cross"


# ---------------------------------------------------------------- what is driven by what


def render_people(
    folder: Path, people: int, frames: int, fps: int, size: int, assets: Path | None = None
) -> list[tuple[Path, Path]]:
    """Portrait (PNG) and clip (MP4) of every person; what is there already is not rendered again."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for seed in range(FIRST_SEED, FIRST_SEED + people):
        stem = f"{seed}_{size}px_{frames}frames_{fps}fps"
        portrait, clip = folder / f"{stem}.png", folder / f"{stem}.mp4"
        if not (portrait.exists() and clip.exists()):
            pictures = write_clip(clip, seed, seed, frames, fps, size, assets)
            save_image(portrait, pictures[0])
        made.append((portrait, clip))
    return made


def write_clip(
    path: Path, person: int, mover: int, frames: int, fps: int, size: int, assets: Path | None
) -> np.ndarray:
    """Render one person in their own light performing another's (or their own) motion; returns the frames."""
    from training.synthetic.render import render_clip  # here, as it needs OpenGL

    pictures = render_clip(person, mover + 5000, frames, fps, size, assets=assets)["frames"]
    with VideoWriter(path, (size, size), fps, crf=12) as writer:
        for picture in pictures:
            writer.write(picture)
    print(f"rendered {path.name}", flush=True)
    return pictures


def pairs_of_people(people: list[tuple[Path, Path]], own: list[tuple[Path, Path]]) -> list[Pair]:
    """Everybody driven by somebody else of `people`, and by their own clip of `own`; both are portraits and clips."""
    pairs = []
    for index, (portrait, clip) in enumerate(people):
        other = people[(index + NEXT_DRIVER) % len(people)][1]
        if other != clip:
            pairs.append(Pair(f"{index:02d}_cross", portrait, other))
        pairs.append(Pair(f"{index:02d}_same", *own[index], "same"))
    return pairs


def pairs_of_folders(sources: Path, driving: Path) -> list[Pair]:
    """Every picture of one folder with every video of the other.

    Raises:
        OptionError: If a folder is missing or has no such file.
    """
    found = []
    for folder, suffixes, kind in ((sources, PICTURES, "pictures"), (driving, VIDEOS, "videos")):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes) if folder.is_dir() else []
        if not files:
            raise OptionError(f"--pairs names {str(folder)!r}, which is no folder with {kind} ({', '.join(suffixes)}).")
        found.append(files)
    return [Pair(f"{source.stem}__{video.stem}", source, video) for source in found[0] for video in found[1]]


# ---------------------------------------------------------------- scores


def load_scorer(path: Path) -> ModuleType:
    """The scoring program at `path` as a module.

    Raises:
        OptionError: If the file is missing or lacks a function.
    """
    if not path.is_file():
        raise OptionError(f"--scorer is {str(path)!r}, expected the Python file of the scoring program.")
    spec = importlib.util.spec_from_file_location("reenactment_scorer", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    if missing := [name for name in ("Models", "analyse", "evaluate") if not hasattr(module, name)]:
        raise OptionError(f"--scorer is {str(path)!r}, which has no {missing[0]!r}.")
    return module


def score(pair: Pair, output: Path, scorer: ModuleType, models: object, cache: Path) -> Row:
    """All numbers of one re-enacted clip; `cache` keeps what the scorer saw in each file, by its content."""
    result = scorer.evaluate(
        str(pair.source), str(pair.driving), str(output), mode=pair.mode, models=models, cache=str(cache)
    )
    row = summarise(result) | compare_streams(pair.driving, output)
    if pair.mode == "cross" and "error" not in result:
        picture = scorer.analyse(str(pair.source), models, 30, 1, str(cache))
        driver, made = (scorer.analyse(str(path), models, None, 1, str(cache)) for path in (pair.driving, output))
        wanted = picture.desc[int(np.argmax(picture.ok))]
        row["closer_to_source"] = closer_share(wanted, driver.desc, made.desc, driver.ok, made.ok)
    return row


def summarise(result: dict) -> Row:
    """The numbers of the scorer's report that the tables show.

    Correlations are None where the driver hardly moves, and 0 where the output does not move at all.
    """
    row: Row = {"mode": result["inputs"]["mode"], "face_found": result["detection"]["output"]}
    if "error" in result:
        return row | {"error": result["error"]}
    expression, pose = (result["dlib"][part]["per_measure"] for part in ("expression", "pose"))
    for name, measure in (*pose.items(), ("mouth_open", expression["mouth_open"])):
        row[name], row[f"{name}_gain"] = _moved(measure, "r"), _moved(measure, "gain")
    row["eye_open"] = _mean([_moved(expression[eye], "r") for eye in ("ear_l", "ear_r")])
    row["jitter_ratio"] = result["dlib"]["stability"]["jitter_ratio"]
    row["sharpness"] = result["sharpness"]["ratio_source"]
    row["id_l2"] = result["identity"]["l2"]
    if result["inputs"]["mode"] == "same":
        row["psnr_same"] = result["image"]["clip"]["psnr"]
        row["psnr_frame"] = result["image"]["frame"]["psnr"]
    return row


def _moved(measure: dict, name: str) -> float | None:
    return (measure[name] or 0.0) if measure["driving_active"] else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def closer_share(
    source: np.ndarray, driver: np.ndarray, output: np.ndarray, driver_ok: np.ndarray, output_ok: np.ndarray
) -> float:
    """Share of output frames whose face descriptor is nearer to the source's than to the driver's of that frame.

    Args:
        source (`np.ndarray` of shape `(D,)`): Descriptor of the portrait.
        driver, output (`np.ndarray` of shape `(T, D)`): Descriptors of each frame.
        driver_ok, output_ok (`np.ndarray` of shape `(T,)`): Whether a face was found; other frames do not count.
    """
    count = min(len(driver), len(output))
    usable = driver_ok[:count] & output_ok[:count]
    to_source = np.linalg.norm(output[:count] - source, axis=1)
    to_driver = np.linalg.norm(output[:count] - driver[:count], axis=1)
    return float((to_source < to_driver)[usable].mean()) if usable.any() else 0.0


def compare_streams(driving: Path, output: Path) -> Row:
    """Whether the result has the driving video's frames, their times (within a millisecond) and its sound packets."""
    (times, sound), (made_times, made_sound) = _streams(driving), _streams(output)
    same_times = len(times) == len(made_times) and bool(np.all(np.abs(times - made_times) < 1e-3))
    return {
        "frames": len(made_times), "same_frames": float(len(times) == len(made_times)),
        "same_times": float(same_times), "same_sound": float(sound == made_sound),
    }  # fmt: skip


def _streams(path: Path) -> tuple[np.ndarray, list[bytes]]:
    """Times of the frames since the first one, seconds, and the packets of the sound."""
    with av.open(str(path)) as container:
        times = np.array([float(f.pts * f.time_base) for f in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = container.demux(audio=0) if container.streams.audio else ()
        return times - times[:1], [bytes(packet) for packet in sound if packet.size]


# ---------------------------------------------------------------- tables


def mean_table(rows: list[Row]) -> dict[str, float]:
    """The mean of every number over the rows that have it; `failed` counts rows that could not be scored."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, str))
    table = {name: _mean(row.get(name) for row in rows) for name in names}
    return {"failed": float(sum("error" in row for row in rows))} | {k: v for k, v in table.items() if v is not None}


def format_means(table: dict[str, float], goals: dict[str, float]) -> str:
    """One line a measure, with its goal."""
    lines = [f"{'measure':20s} {'mean':>8s} {'goal':>6s}"]
    for name, value in table.items():
        goal = goals.get(name)
        verdict = "" if goal is None else "ok" if value >= goal else "below"
        lines.append(f"{name:20s} {value:8.3f} {'' if goal is None else goal:>6} {verdict}".rstrip())
    return "\n".join(lines)


def format_pairs(rows: list[Row], goals: dict[str, float]) -> str:
    """One line a pair. `!` follows a number below its goal, `-` stands where the driver hardly moves."""
    width = max(len(str(row["name"])) for row in rows)
    head = " ".join(f"{name:>16s}" for name in PAIR_COLUMNS)
    lines = [f"{'pair':{width}s} {head}  frames times sound"]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['name']:{width}s} {row['error']}")
            continue
        cells = []
        for name in PAIR_COLUMNS:
            value = row.get(name)
            low = value is not None and value < goals.get(name, -np.inf)
            cells.append(f"{'-' if value is None else f'{value:.3f}' + '!' * low:>16s}")
        kept = " ".join("ok   " if row[name] else "DIFFERS" for name in ("same_frames", "same_times", "same_sound"))
        lines.append(f"{row['name']:{width}s} {' '.join(cells)}  {kept}".rstrip())
    return "\n".join(lines)


# ---------------------------------------------------------------- contact sheet


def contact_sheet(pairs: list[tuple[Pair, Path]], columns: int, side: int = 96, count: int = 6) -> np.ndarray:
    """Show pairs and their results: the source, then driving frames above output frames of the same moments.

    Args:
        pairs (`list`): Pairs with the video made from each.
        columns (`int`): Pairs in a row.
        side (`int`, *optional*, defaults to 96): Of a frame, pixels.
        count (`int`, *optional*, defaults to 6): Frames of each video, evenly spread.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8 RGB.
    """
    blocks = [_block(pair, output, side, count) for pair, output in pairs]
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % columns)
    return np.vstack([np.hstack(blocks[i : i + columns]) for i in range(0, len(blocks), columns)])


def _block(pair: Pair, output: Path, side: int, count: int) -> np.ndarray:
    caption = np.full((18, (2 + count) * side, 3), 255, np.uint8)
    cv2.putText(caption, pair.name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    strips = [np.hstack([_fit(f, side) for f in _spread(path, count)]) for path in (pair.driving, output)]
    return np.vstack([caption, np.hstack([_fit(load_image(pair.source), 2 * side), np.vstack(strips)])])


def _spread(path: Path, count: int) -> list[np.ndarray]:
    with VideoReader(path) as video:
        small = [_fit(frame.image, 256) for frame in video]
    return [small[i] for i in np.linspace(0, len(small) - 1, count).round().astype(int)]


def _fit(image: np.ndarray, side: int) -> np.ndarray:
    """The picture in the middle of a white square."""
    scale = side / max(image.shape[:2])
    width, height = (max(1, round(n * scale)) for n in image.shape[1::-1])
    canvas = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return canvas


# ---------------------------------------------------------------- the program


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.tools.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scorer", type=Path, help="the independent scoring program (a Python file)")
    parser.add_argument("--pairs", type=Path, nargs=2, metavar=("SOURCES", "DRIVING"), help="folders of real media")
    parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="videos and results go here")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG) of the pairs")
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the bundled checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--adapt", type=int, help="adaptation steps a source; default: as the checkpoint says")
    parser.add_argument("--no-refine", action="store_true", help="leave out the second stage")
    people = parser.add_argument_group("synthetic people")
    people.add_argument("--people", type=int, default=20)
    people.add_argument("--frames", type=int, default=150, help="of each clip that drives somebody else")
    people.add_argument("--own-frames", type=int, default=60, help="of each clip that drives its own person")
    people.add_argument("--fps", type=int, default=25)
    people.add_argument("--size", type=int, default=384, help="side of the rendered clips, pixels")
    people.add_argument("--clips", type=Path, help="folder that keeps the rendered clips; default: OUTPUT/clips")
    people.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    people.add_argument("--truth", action="store_true", help="score what a perfect result of the same size would be")
    people.add_argument("--render-only", action="store_true", help="render missing clips and stop")
    options = parser.parse_args(arguments)
    if options.people < 1 or min(options.frames, options.own_frames) < 10:
        raise OptionError(
            f"--people is {options.people}, --frames {options.frames} and --own-frames {options.own_frames}, expected "
            "at least 1 person and 10 frames."
        )
    if options.truth and options.pairs:
        raise OptionError("--truth was given with --pairs; expected one of them: only renders have a known truth.")
    if options.scorer is None and not options.render_only:
        raise OptionError("--scorer is missing, expected the Python file of the scoring program.")
    if options.sheet is not None:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        check_output(options.sheet, (".png", ".jpg"))
    return options


Maker = Callable[[Pair, Path], Row]  # writes the pair's video, returns what is to be said of the making


def make_reenactments(options: argparse.Namespace) -> Maker:
    """What re-enacts pairs with the checkpoint."""
    from vivface import VivFacePipeline

    pipeline = VivFacePipeline.from_pretrained(options.checkpoint).to(options.device)
    pipeline.set_progress_bar_config(disable=True)
    identities: dict[Path, object] = {}  # adaptation takes a while, and a source is driven several times

    def make(pair: Pair, output: Path) -> Row:
        nonlocal identities
        if pair.source not in identities:
            identities = {pair.source: pipeline.encode_identity(pair.source, adapt=options.adapt)}
        result = pipeline(identities[pair.source], pair.driving, refine=not options.no_refine)
        result.save(output)
        return {"made_per_second": result.report.fps}

    return make


def make_truth(options: argparse.Namespace, clips: Path) -> Maker:
    """What renders a pair's true video, and cuts it as the pipeline would cut a driving video."""
    from vivface import VivFacePipeline

    pipeline = VivFacePipeline.from_pretrained(options.checkpoint)
    side = pipeline.generator.config.size

    def make(pair: Pair, output: Path) -> Row:
        person, mover = (int(path.stem.split("_")[0]) for path in (pair.source, pair.driving))
        whole = pair.driving
        if person != mover:
            whole = clips / f"{person}_as_{pair.driving.name}"
            if not whole.exists():
                write_clip(whole, person, mover, options.frames, options.fps, options.size, options.assets)
        driving = DrivingVideo(VideoReader(whole), pipeline.backend, side, pipeline.config.crop)
        crop = None
        with VideoWriter(output, (side, side), options.fps) as writer:
            for frame in driving.frames([]):
                crop = frame.crop if frame.crop is not None else crop
                writer.write(crop)
        return {}

    return make


def score_all(
    pairs: list[Pair], folder: Path, make: Maker, score_pair: Callable[[Pair, Path], Row]
) -> list[tuple[Pair, Path, Row]]:
    """Make and score every pair's video; one that fails is reported in its row and does not stop the others."""
    done = []
    for pair in pairs:
        output = folder / f"{pair.name}.mp4"
        output.unlink(missing_ok=True)
        row: Row = {"name": pair.name, "source": pair.source.name, "driving": pair.driving.name}
        try:
            row |= make(pair, output) | score_pair(pair, output)
        except VivFaceError as error:
            row |= {"error": str(error), "mode": pair.mode, "face_found": 0.0}
        shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
        print(pair.name, row.get("error", ""), shown, flush=True)
        done.append((pair, output, row))
    return done


def main(arguments: list[str] | None = None) -> None:
    # 1. What is driven by what.
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.pairs:
        pairs = pairs_of_folders(*options.pairs)
    else:
        clips = options.clips or options.output / "clips"
        people, own = (
            render_people(clips, options.people, frames, options.fps, options.size, options.assets)
            for frames in (options.frames, options.own_frames)
        )
        pairs = pairs_of_people(people, own)
    if options.render_only:
        return

    # 2. Make and score.
    scorer = load_scorer(options.scorer)
    models, cache = scorer.Models(), options.output / "analysis"
    failures = getattr(scorer, "InputError", MediaError)

    def score_pair(pair: Pair, output: Path) -> Row:
        try:
            return score(pair, output, scorer, models, cache)
        except failures as error:  # no face in the result, for example
            raise MediaError(str(error)) from error

    make = make_truth(options, clips) if options.truth else make_reenactments(options)
    done = score_all(pairs, options.output, make, score_pair)

    # 3. Report.
    rows = [row for _, _, row in done]
    tables = {}
    print(format_pairs(rows, PAIR_GOALS if options.pairs else {}))
    for mode in dict.fromkeys(pair.mode for pair in pairs):
        tables[mode] = mean_table([row for row in rows if row["mode"] == mode])
        print(f"\n{mode}\n{format_means(tables[mode], PAIR_GOALS if options.pairs else GOALS[mode])}")
    (options.output / "table.json").write_text(json.dumps({"mean": tables, "rows": rows}, indent=1))
    if options.sheet is not None:
        made = [(pair, path) for pair, path, _ in done if path.exists() and (options.pairs or pair.mode == "cross")]
        if made:
            columns = len({pair.driving for pair, _ in made}) if options.pairs else 2
            save_image(options.sheet, contact_sheet(made, columns))


if __name__ == "__main__":
    run_program(main)
