"""The sound of a clip in a file of its own (.m4a)."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import av

from vivface.errors import MediaError
from vivface.files import complete_file
from vivface.media.audio import AudioTrack
from vivface.media.containers import open_input
from vivface.media.tracks import clock_origin

SOUND_SUFFIX = ".m4a"


def save_sound(
    clip: str | os.PathLike, path: str | os.PathLike, start: Fraction = Fraction(0), duration: Fraction | None = None
) -> list[str]:
    """Write the best audio track of a clip to a file of its own: AAC is copied, all else re-encoded.

    Args:
        clip (`str` or `os.PathLike`): The clip; without sound, nothing is written.
        path (`str` or `os.PathLike`): The `.m4a` file.
        start (`Fraction`, *optional*, defaults to 0): Seconds of the clip that become time 0.
        duration (`Fraction`, *optional*): Seconds to take; by default all the rest.

    Returns:
        list of `str`: What a user should know.

    Raises:
        MediaError: If the clip cannot be read or the file cannot be written.
    """
    with open_input(Path(clip)) as container:
        if not container.streams.audio:
            return []
    path = Path(path)
    try:
        with complete_file(path) as temporary:
            with av.open(str(temporary), "w", format="mp4") as output:
                track = AudioTrack(Path(clip), output, ".mp4", start, duration)
                try:
                    track.mux_until(math.inf)
                finally:
                    track.close()
            if temporary.stat().st_size == 0:
                raise _NoSound
    except _NoSound:
        return track.warnings
    except (OSError, av.error.FFmpegError) as error:
        raise MediaError(f"Cannot write '{path}': {getattr(error, 'strerror', None) or error}.") from error
    return track.warnings


def sound_offset(path: Path) -> Fraction:
    """The `start` at which a file of `save_sound` has to be read so that its own clock counts, seconds.

    Readers count from the first sample, but sound that begins late has to stay late.

    Raises:
        MediaError: If it cannot be read.
    """
    with open_input(path) as container:
        return -clock_origin(container)


class _NoSound(Exception):
    """There was nothing to write."""
