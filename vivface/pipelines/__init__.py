"""The systems, one a file, on their common base."""

from vivface.hub.registry import PIPELINES, load_pipeline, pipeline_class

__all__ = ["PIPELINES", "load_pipeline", "pipeline_class"]
