"""Evaluation of a checkpoint: pairs of portrait and driving video, their videos, scores, tables and a contact sheet.

`python -m training.tools.evaluate` is the program.
"""
