"""Training of vivface's networks (not part of the installed package)."""
