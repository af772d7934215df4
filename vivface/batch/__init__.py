"""Many clips: pairs of portraits and driving videos, made by workers of one machine or of a cluster."""
