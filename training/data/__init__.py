"""Batches of images: synthetic people with their ground truth, and real videos.

Sources of images:

- `GroupShards`: synthetic people, one npz file per identity; identities of one group perform the same motions, frame
  by frame.
- `Clips`: crops of faces clip by clip: `ShardClips` (the same synthetic people), `PreparedClips` (real videos, aligned
  by `training.tools.prepare`), `VideoFolder` (files or folders of frames as they are), `ImageFolder` (single images).

Batches are datasets whose item `i` is batch `i`, made from the seed, `i` and the files alone, so a run resumes where it
stopped. `GridBatches` serves the supervised stage, `PairBatches` the papers' stages, `ImageBatches` the generator and
the recognizer, `FrameBatches` and `DrivingFrameBatches` the autodecoder and the encoder. `stream` prepares items ahead
in threads or processes. A file that cannot be read is reported once and skipped; only when nothing is left is it an
error.

Coordinates: quads and landmarks of a frame are in pixels with pixel centres at integers, as dlib gives them; in a crop
of size S they are fractions u of the size, pixel k covering [k/S, (k+1)/S].
"""

from training.data.clips import Clips, ClipSubset, ImageFolder, ShardClips
from training.data.frames import DrivingFrameBatches, FrameBatches
from training.data.grids import GridBatches, StackedGrids
from training.data.loader import open_clips, stream
from training.data.pairs import EpochOrder, ImageBatches, PairBatches
from training.data.prepared import PreparedClips
from training.data.quads import Drift, adjust_quad, jitter, sample_drift
from training.data.regions import REGIONS, region_maps, region_weights
from training.data.shards import GroupShards, ShardRecord
from training.data.videos import VideoFolder

__all__ = [
    "REGIONS",
    "ClipSubset",
    "Clips",
    "Drift",
    "DrivingFrameBatches",
    "EpochOrder",
    "FrameBatches",
    "GridBatches",
    "GroupShards",
    "ImageBatches",
    "ImageFolder",
    "PairBatches",
    "PreparedClips",
    "ShardClips",
    "ShardRecord",
    "StackedGrids",
    "VideoFolder",
    "adjust_quad",
    "jitter",
    "open_clips",
    "region_maps",
    "region_weights",
    "sample_drift",
    "stream",
]
