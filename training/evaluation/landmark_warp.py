"""A baseline that learns nothing: the photograph warped by a spline through 68 landmarks."""

from __future__ import annotations

import torch

from vivface.faces.alignment import align_quad, ffhq_quad, to_crop
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import choose_face
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker
from vivface.media import VideoReader, VideoWriter, load_image
from vivface.models.landmark_warp import thin_plate_flow, warp

SIZE, FLOW_SIZE, BORDER = 512, 128, 8  # pixels of frames and flows; points along each side that stay


def write_landmark_warp(source: str, driving: str, output: str) -> None:
    """Move a portrait's landmarks as the driver's have moved since the first frame, and write the video.

    Args:
        source (`str`), driving (`str`): Portrait and driving video.
        output (`str`): The video to write, 512 x 512.
    """
    backend = get_backend("auto", "cpu")
    photo = load_image(source)
    own = choose_face(backend.detect(photo)).landmarks
    quad = ffhq_quad(own)
    portrait = torch.from_numpy(align_quad(photo, quad, SIZE).copy()).permute(2, 0, 1)[None].float()
    own = torch.from_numpy(2 * to_crop(own, quad) - 1)[None].float()
    reader, tracker, stabilizer = VideoReader(driving), FaceTracker(backend), QuadStabilizer("stable")
    first = last = None
    with VideoWriter(output, (SIZE, SIZE), reader.fps, reader.time_base, audio_from=driving) as writer:
        for frame in reader:
            tracked = tracker.update(frame.image, frame.time)
            if tracked.found:
                crop = stabilizer.update(ffhq_quad(tracked.landmarks), frame.time, cut=tracked.redetected)
                last = torch.from_numpy(2 * to_crop(tracked.landmarks, crop) - 1)[None].float()
                first = last if first is None else first
            moved = own if last is None else own + last - first
            image = warp(portrait, thin_plate_flow(moved, own, FLOW_SIZE, border=BORDER))
            writer.write(image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy(), frame.time, frame.duration)
