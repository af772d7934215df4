"""One portrait and one driving video: the portrait moves, speaks and looks as the video does.

The public names are imported at first use, so that `import vivface` stays light:

    from vivface import VivFacePipeline

    pipe = VivFacePipeline.from_pretrained()
    pipe("portrait.png", "driving.mp4").save("out.mp4")
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "VivFacePipeline": "vivface.pipelines.vivface",
    "HyperReenactPipeline": "vivface.pipelines.hyperreenact",
    "ExpressiveCodecPipeline": "vivface.pipelines.codec",
    "Video2StyleGANPipeline": "vivface.pipelines.video2stylegan",
    "load_pipeline": "vivface.hub.registry",
    "IdentityCode": "vivface.reenactment.codes",
    "MotionCodes": "vivface.reenactment.codes",
    "CodedVideo": "vivface.reenactment.coded_video",
    "ReenactmentResult": "vivface.reenactment.result",
    "Parts": "vivface.warping.parts",
    "VivFaceError": "vivface.errors",
    "MediaError": "vivface.errors",
    "NoFaceError": "vivface.errors",
    "CheckpointError": "vivface.errors",
    "BackendError": "vivface.errors",
    "OptionError": "vivface.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vivface' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
