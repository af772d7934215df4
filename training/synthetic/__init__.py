"""Synthetic heads from the CC0 MakeHuman assets: identity, motion and light in, pictures with their truth out."""
