"""Programs around training: `python -m training.tools.NAME`."""
