"""Errors that a user can cause.

Each message is one sentence: what was given, what was expected, what to do. The command line prints it
and exits with status 2; the Space shows it in the page.
"""


class VivFaceError(Exception):
    """Base of every error that a user of vivface can cause."""


class MediaError(VivFaceError):
    """A picture, video or motion file cannot be read or written."""


class NoFaceError(VivFaceError):
    """No face, or not the requested one, was found."""


class CheckpointError(VivFaceError):
    """A checkpoint is missing, incomplete, of another kind, or unsafe to read."""


class BackendError(VivFaceError):
    """An optional part (a detector's weights, a device, an extra dependency) is not available."""


class OptionError(VivFaceError, ValueError):
    """An option's value is out of its range or contradicts another option."""


def first_line(error: BaseException) -> str:
    """The first line of a library's message, without its full stop, to be quoted in a sentence of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
