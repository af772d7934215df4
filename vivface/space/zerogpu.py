"""ZeroGPU: a GPU is lent for the length of one call, where the package `spaces` is present."""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)

START_SECONDS = 20.0  # loading, encoding the portrait, opening the clip
FRAMES_PER_SECOND = 15.0  # made, written and sent, on the slow side
LONGEST_SECONDS = 300.0


def gpu_seconds(seconds: float, fps: float = 30.0, extra: float = 0.0) -> int:
    """How long a GPU is needed to re-enact a clip.

    Args:
        seconds (`float`): length of the clip.
        fps (`float`, *optional*, defaults to 30): its frames per second.
        extra (`float`, *optional*, defaults to 0): seconds for other work, such as adapting to the portrait.
    """
    return round(min(LONGEST_SECONDS, START_SECONDS + extra + seconds * fps / FRAMES_PER_SECOND))


def with_gpu(function: Function, duration: Callable[..., int] | int) -> Function:
    """Decorate with `spaces.GPU(duration=...)` where that exists; elsewhere the function stays as it is."""
    try:
        import spaces
    except ImportError:
        return function
    return spaces.GPU(duration=duration)(function)
