"""Edits of a face by directions in the spaces that its codes live in, and of its motion over time."""

from vivface.editing.directions import AttributeDirections, Direction
from vivface.editing.edits import Amount, Edits, TimedEdits, parse_edits
from vivface.editing.key_frames import parse_amounts
from vivface.editing.smoothing import smooth_motion
from vivface.editing.timed_expression import TimedAmount, TimedExpression

__all__ = [
    "Amount",
    "AttributeDirections",
    "Direction",
    "Edits",
    "TimedAmount",
    "TimedEdits",
    "TimedExpression",
    "parse_amounts",
    "parse_edits",
    "smooth_motion",
]
