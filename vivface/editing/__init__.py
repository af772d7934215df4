"""Edits of a face by directions in the spaces that its codes live in, and of its motion over time."""

from vivface.editing.directions import AttributeDirections, Direction
from vivface.editing.edits import Amount, Edits, TimedEdits, parse_edits
from vivface.editing.smoothing import smooth_motion

__all__ = ["Amount", "AttributeDirections", "Direction", "Edits", "TimedEdits", "parse_edits", "smooth_motion"]
