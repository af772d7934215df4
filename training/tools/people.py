"""The synthetic people that programs fit something on: opened and counted, every eighth held out of the fit."""

from __future__ import annotations

from collections.abc import Sequence

from training.data.shards import GroupShards, ShardRecord
from vivface.errors import OptionError

HELD_OUT = 8
CACHE_GIGABYTES = 0.5


def open_people(folders: Sequence[str], most: int) -> tuple[GroupShards, list[ShardRecord]]:
    """The people of folders, at most so many.

    Args:
        folders (sequence of `str`): Folders of shards.
        most (`int`): How many people are read.

    Returns:
        `tuple`: The shards, which give frames, and one record a person.

    Raises:
        OptionError: If there are too few to hold two out.
    """
    shards = GroupShards(folders, cache_gigabytes=CACHE_GIGABYTES)
    records = shards.records()[:most]
    if len(records) < 2 * HELD_OUT:
        raise OptionError(f"The folders hold {len(records)} people; expected at least {2 * HELD_OUT}.")
    return shards, records


def split_people(count: int) -> tuple[list[int], list[int]]:
    """Numbers of the people that are fitted, and of those held out."""
    return [n for n in range(count) if n % HELD_OUT], list(range(0, count, HELD_OUT))
