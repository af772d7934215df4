"""vivface in ComfyUI: re-enact a portrait, use a motion by name, verify a file. Put this folder into `custom_nodes`."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
