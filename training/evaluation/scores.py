"""Scores of a reenacted video, by an independent scoring program and by comparing streams."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import av
import numpy as np

from training.evaluation.pairs import Pair
from vivface.errors import OptionError

Row = dict[str, float | str | None]


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
    """All numbers of one reenacted video.

    Args:
        pair (`Pair`): Portrait and driving video.
        output (`Path`): The result.
        scorer (module): See `load_scorer`.
        models (`object`): Its models.
        cache (`Path`): Keeps the scorer's analysis of each file, by its content.
    """
    result = scorer.evaluate(
        str(pair.source), str(pair.driving), str(output), mode=pair.mode, models=models, cache=str(cache)
    )
    row = summarise(result) | compare_streams(pair.driving, output)
    if pair.mode == "cross" and "error" not in result:
        portrait = scorer.analyse(str(pair.source), models, 30, 1, str(cache))
        driving, made = (scorer.analyse(str(path), models, None, 1, str(cache)) for path in (pair.driving, output))
        descriptor = portrait.desc[int(np.argmax(portrait.ok))]
        row["closer_to_source"] = closer_share(descriptor, driving.desc, made.desc, driving.ok, made.ok)
    return row


def summarise(result: dict) -> Row:
    """The numbers of the scorer's report that the tables show.

    Correlations are None where the driving face hardly moves, and 0 where the output does not move at all.
    """
    row: Row = {"mode": result["inputs"]["mode"], "face_found": result["detection"]["output"]}
    if "error" in result:
        return row | {"error": result["error"]}
    expression, pose = (result["dlib"][part]["per_measure"] for part in ("expression", "pose"))
    for name, measure in (*pose.items(), ("mouth_open", expression["mouth_open"])):
        row[name], row[f"{name}_gain"] = _moved(measure, "r"), _moved(measure, "gain")
    row["eye_open"] = mean([_moved(expression[eye], "r") for eye in ("ear_l", "ear_r")])
    row["eye_open_gain"] = mean([_moved(expression[eye], "gain") for eye in ("ear_l", "ear_r")])
    if "brow" in expression:
        row["brow"], row["brow_gain"] = _moved(expression["brow"], "r"), _moved(expression["brow"], "gain")
    row["jitter_ratio"] = result["dlib"]["stability"]["jitter_ratio"]
    row["sharpness"] = result["sharpness"]["ratio_source"]
    row["id_l2"] = result["identity"]["l2"]
    if result["inputs"]["mode"] == "same":
        row["psnr_same"] = result["image"]["clip"]["psnr"]
        row["psnr_frame"] = result["image"]["frame"]["psnr"]
    return row


def _moved(measure: dict, name: str) -> float | None:
    return (measure[name] or 0.0) if measure["driving_active"] else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None, or None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def closer_share(
    source: np.ndarray, driving: np.ndarray, output: np.ndarray, driving_ok: np.ndarray, output_ok: np.ndarray
) -> float:
    """Share of output frames whose face descriptor is nearer to the source's than to that of the driving frame.

    Args:
        source (`np.ndarray` of shape `(D,)`): Descriptor of the portrait.
        driving, output (`np.ndarray` of shape `(T, D)`): Descriptors of each frame.
        driving_ok, output_ok (`np.ndarray` of shape `(T,)`): Whether a face was found; other frames do not count.
    """
    count = min(len(driving), len(output))
    usable = driving_ok[:count] & output_ok[:count]
    to_source = np.linalg.norm(output[:count] - source, axis=1)
    to_driving = np.linalg.norm(output[:count] - driving[:count], axis=1)
    return float((to_source < to_driving)[usable].mean()) if usable.any() else 0.0


def compare_streams(driving: Path, output: Path) -> Row:
    """Whether the result has the driving video's frames, their times (within a millisecond) and its audio packets."""
    (times, audio), (made_times, made_audio) = _streams(driving), _streams(output)
    same_times = len(times) == len(made_times) and bool(np.all(np.abs(times - made_times) < 1e-3))
    return {
        "frames": len(made_times), "same_frames": float(len(times) == len(made_times)),
        "same_times": float(same_times), "same_audio": float(audio == made_audio),
    }  # fmt: skip


def _streams(path: Path) -> tuple[np.ndarray, list[bytes]]:
    """Times of the frames since the first one, seconds, and the packets of the audio."""
    with av.open(str(path)) as container:
        times = np.array([float(f.pts * f.time_base) for f in container.decode(video=0)])
    with av.open(str(path)) as container:
        audio = container.demux(audio=0) if container.streams.audio else ()
        return times - times[:1], [bytes(packet) for packet in audio if packet.size]
