"""WebDataset shards of aligned clips, and what is written beside them.

    OUT/plan.json              the options, and which videos are in which shard
    OUT/train-000000.tar       one sample a clip: NAME.0000.jpg, ..., NAME.landmarks.npy, NAME.json
    OUT/train-000000.json      its index: clips, place of every frame in the file, and what was dropped and why
    OUT/report.json            what was kept and dropped, once all shards are there

A tar file depends on videos and options alone: rerun, spread over machines of one kind or written by another engine it
is the same byte by byte. Tar file and index appear whole, the index last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from training.preparation.clips import Clip, Filters, prepare_video
from training.preparation.layouts import SPLITS, Video
from vivface.errors import MediaError, OptionError
from vivface.faces.backends import get_backend
from vivface.files import complete_file

FORMAT = "vivface-clips-1"
PLAN, REPORT = "plan.json", "report.json"


@dataclass(frozen=True)
class Shard:
    """Some videos of one split.

    Attributes:
        name (`str`): Of the files, such as `train-000003`.
        split (`str`): One of `SPLITS`.
        videos (`list[Video]`): What is in it.
    """

    name: str
    split: str
    videos: list[Video]


def make_plan(videos: Sequence[Video], people: dict[str, str], per_shard: int) -> list[Shard]:
    """Which video goes into which shard.

    Args:
        videos (sequence of `Video`): In order.
        people (`dict[str, str]`): Person -> split.
        per_shard (`int`): Videos of a shard.

    Returns:
        `list[Shard]`: Split by split.
    """
    shards = []
    for split in SPLITS:
        chosen = [video for video in videos if people[video.person] == split]
        for k in range(0, len(chosen), per_shard):
            shards.append(Shard(f"{split}-{k // per_shard:06d}", split, chosen[k : k + per_shard]))
    return shards


def keep_plan(output: Path, shards: Sequence[Shard], options: dict) -> None:
    """Write the plan, or make sure that it is the one of the shards that are there.

    Raises:
        OptionError: If the folder holds shards of other videos or options.
    """
    output.mkdir(parents=True, exist_ok=True)
    plan = {"format": FORMAT, "options": options, "shards": [asdict(shard) for shard in shards]}
    path = output / PLAN
    if not path.is_file():
        with complete_file(path) as temporary:
            temporary.write_text(_json(plan))
        return
    found = read_json(path)
    for name in ("format", "options", "shards"):
        if found.get(name) != plan[name]:
            what = {"shards": "other videos", "options": "other options"}.get(name, "another version")
            raise OptionError(f"{output} holds shards of {what} ({path}): give an empty folder, or what was given then")


def is_done(output: Path, shard: Shard) -> bool:
    """Whether a shard is complete."""
    index = output / f"{shard.name}.json"
    if not index.is_file():
        return False
    return read_json(index)["bytes"] == _size(output / f"{shard.name}.tar")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def make_shard(folder: Path, output: Path, shard: Shard, filters: Filters) -> dict:
    """Prepare the videos of a shard and write it.

    Args:
        folder (`Path`): Of the data set.
        output (`Path`): Of the shards.
        shard (`Shard`): Which.
        filters (`Filters`): What is left out.

    Returns:
        `dict`: Its index.

    Raises:
        MediaError: If it cannot be written.
    """
    try:
        return _make_shard(folder, output, shard, filters)
    except OSError as error:
        raise MediaError(f"the shard {output / shard.name} cannot be written ({error})") from error


def _make_shard(folder: Path, output: Path, shard: Shard, filters: Filters) -> dict:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    backend = get_backend(filters.backend)
    part, clips, videos = output / f".{shard.name}.tar.part", [], []  # one name, so that a kill leaves no litter
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for video in shard.videos:
            prepared = prepare_video(folder / video.name, filters, backend)
            videos.append(
                {
                    "video": video.name,
                    "frames": prepared.frames,
                    "kept": sum(len(clip.images) for clip in prepared.clips),
                    "dropped": dict(sorted(prepared.dropped.items())),
                    **({"fault": prepared.fault} if prepared.fault else {}),
                }
            )
            for clip in prepared.clips:
                clips.append(_write_clip(tar, video, clip, prepared.fps, filters.size))
    size = _size(part) if clips else 0
    if clips:
        _fill_offsets(part, clips)
        os.replace(part, output / f"{shard.name}.tar")
    else:
        part.unlink()
    index = {"format": FORMAT, "split": shard.split, "bytes": size, "clips": clips, "videos": videos}
    with complete_file(output / f"{shard.name}.json") as temporary:
        temporary.write_text(_json(index))
    return index


def _write_clip(tar: tarfile.TarFile, video: Video, clip: Clip, fps: float, size: int) -> dict:
    """One sample; what WebDataset takes for its key ends at the first dot."""
    digest = hashlib.sha256(video.name.encode()).hexdigest()[:16]
    key = f"{digest}-{clip.first:06d}"
    about = {"video": video.name, "person": video.person, "first": clip.first, "frames": len(clip.images)}
    about |= {"fps": round(fps, 4), "size": size}
    for k, image in enumerate(clip.images):
        _add(tar, f"{key}.{k:04d}.jpg", image)
    landmarks = io.BytesIO()
    np.save(landmarks, np.stack(clip.landmarks).astype(np.float32))
    _add(tar, f"{key}.landmarks.npy", landmarks.getvalue())
    _add(tar, f"{key}.json", _json({**about, "times": clip.times}).encode())
    return {"key": key, **about}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member without time or owner."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _fill_offsets(path: Path, clips: list[dict]) -> None:
    """Where the frames and landmarks of every clip lie in the file: `[offset, bytes]` each."""
    places = {}
    with tarfile.open(path) as tar:
        for member in tar:
            places[member.name] = [member.offset_data, member.size]
    for clip in clips:
        clip["images"] = [places[f"{clip['key']}.{k:04d}.jpg"] for k in range(clip["frames"])]
        clip["landmarks"] = places[f"{clip['key']}.landmarks.npy"]


def make_report(output: Path, shards: Sequence[Shard]) -> dict | None:
    """What was kept and dropped; written when all shards are there, else None."""
    if not all(is_done(output, shard) for shard in shards):
        return None
    splits, dropped, faults = {}, Counter(), {}
    for split in SPLITS:
        indices = [read_json(output / f"{shard.name}.json") for shard in shards if shard.split == split]
        clips = [clip for index in indices for clip in index["clips"]]
        videos = [video for index in indices for video in index["videos"]]
        splits[split] = {
            "videos": len(videos),
            "videos without a clip": sum(not video["kept"] for video in videos),
            "people": len({clip["person"] for clip in clips}),
            "clips": len(clips),
            "frames": sum(clip["frames"] for clip in clips),
            "frames read": sum(video["frames"] for video in videos),
        }
        for video in videos:
            dropped.update(video["dropped"])
            if "fault" in video:
                faults[video["video"]] = video["fault"]
    report = {"splits": splits, "dropped": dict(sorted(dropped.items())), "unreadable": dict(sorted(faults.items()))}
    with complete_file(output / REPORT) as temporary:
        temporary.write_text(_json(report))
    return report


def read_json(path: Path) -> dict:
    """A file of this folder.

    Raises:
        OptionError: If it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read ({error}): remove it and prepare its shard again") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path} holds no index of clips: remove it and prepare its shard again")
    return content


def _json(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
