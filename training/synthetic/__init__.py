"""Synthetic heads from the CC0 MakeHuman assets: people, motion and light in, images with their ground truth out."""
