"""Whole systems, one a file."""
