"""What every system needs between a portrait, a driving video and the result."""
