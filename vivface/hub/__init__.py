"""Checkpoints as folders and as Hub repositories: loading, model cards, pushing."""
