"""The photograph itself moves: a portrait warped by the driver's face, at the photograph's own resolution."""
