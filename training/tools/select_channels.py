"""Select the codec's channels: `python -m training.tools.select_channels CHECKPOINT --folders data/people`.

For some synthetic people it measures how sensitive mouth, jaw, eyes, gaze and brows are to channels of StyleSpace
(Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, eq. 5), keeps the 32 that move one attribute and
little else, at least four an attribute, and writes them to `CHECKPOINT/codec/channels.safetensors`. Channels that
gradients find dull are left out at once, unless --shortlist is 0. With --figure, a sheet shows what
each of the chosen does: a row a channel, from -12 to 12 standard deviations.

The pictures are those of a neutral face that looks ahead, as head pose `"motion"` makes them, so
`codec/components.safetensors` has to be there (`training.tools.fit_components`). Distances are those of the
recognizer's feature maps, in the place of LPIPS.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.data.shards import GroupShards, ShardRecord
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.editing.codec_basis import CHANNELS_FILE, Channels
from vivface.editing.stylespace import candidates, deviations, scores, select, sensitivity, shortlist
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.regions import attribute_maps
from vivface.files import check_output
from vivface.media.images import save_image
from vivface.media.tensors import to_images, to_tensor
from vivface.models.identity import feature_distance_maps
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.runtime import choose_device

SPREAD_PEOPLE = 60  # over which the channels' standard deviations are taken
FIGURE_AMOUNTS = (-12.0, -6.0, 0.0, 6.0, 12.0)


def main(arguments: list[str] | None = None) -> None:
    """Measure, select, write, and draw.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are too few people.
        CheckpointError: If the checkpoint cannot be loaded or has no components.
    """
    options = parse_arguments(arguments)
    if options.figure:
        check_output(options.figure, (".png",))
    shards = GroupShards(options.folders, cache_gigabytes=0.2)
    records = shards.records()[:: max(len(shards) // SPREAD_PEOPLE, 1)]
    if len(records) < 2:
        raise OptionError(f"The folders hold {len(records)} people; expected at least 2.")
    pipeline = ExpressiveCodecPipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline._evaluate()
    backend = get_backend("mesh")
    latents = [read_latent(pipeline, shards, record) for record in records]
    subjects = latents[:: max(len(latents) // options.people, 1)][: options.people]
    channels = choose(pipeline, latents, subjects, backend, lambda text: print(text, flush=True), options.shortlist)
    path = channels.save(Path(options.checkpoint) / CHANNELS_FILE)
    counts = ", ".join(f"{name} {channels.attributes.count(name)}" for name in dict.fromkeys(channels.attributes))
    print(f"{path}: {counts}")
    if options.figure:
        save_image(options.figure, figure(pipeline, channels, subjects[0]))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("select_channels", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the file is written into its folder codec")
    add_people(parser)
    parser.add_argument("--people", type=int, default=6, help="subjects for which every channel is moved")
    parser.add_argument(
        "--shortlist", type=int, default=240, help="channels that are moved, found by gradients; 0: all"
    )
    parser.add_argument("--figure", type=Path, help="draw what each channel does to this PNG file")
    add_device(parser)
    return parser.parse_args(arguments)


@torch.no_grad()
def read_latent(pipeline: ExpressiveCodecPipeline, shards: GroupShards, record: ShardRecord) -> Tensor:
    """Identity latent `(1, num_latents, style_dim)` of a person's frame that looks most straight ahead."""
    frame = int(np.abs(record.pose[:, :2]).max(1).argmin())
    crop = crop_quad(shards.image(record, frame), ffhq_quad(record.landmarks[frame]), pipeline.config.image_size)
    return pipeline.encoder(to_tensor([crop], pipeline.encoder.device), motion=False, memory=False).identity


@torch.no_grad()
def choose(
    pipeline: ExpressiveCodecPipeline,
    latents: list[Tensor],
    subjects: list[Tensor],
    backend: LandmarkBackend,
    say=lambda text: None,
    count: int = 0,
) -> Channels:
    """Measure channels on subjects and select.

    Args:
        pipeline (`ExpressiveCodecPipeline`): Whose generator.
        latents (list of `torch.Tensor` of shape `(1, num_latents, style_dim)`): People, for the spread of channels.
        subjects (list of the same): People whose channels are moved.
        backend (`LandmarkBackend`): Finds the regions of their faces.
        say (callable, *optional*): Told how it goes.
        count (`int`, *optional*, defaults to 0): Channels that are moved, a shortlist by gradients for the first
            subject that shows a face; 0 moves all.

    Raises:
        OptionError: If no subject shows a face.
    """
    generator, recognizer = pipeline.generator, pipeline.recognizer
    indices = candidates(generator)
    everyone = generator.to_stylespace(torch.cat(latents))
    deviation = deviations(everyone, indices)

    def distance(images: Tensor, others: Tensor) -> list[Tensor]:
        crops = (recognizer.features(recognizer.crop(batch)) for batch in (images, others))
        return feature_distance_maps(*crops)

    measured = []
    for number, w_plus in enumerate(subjects):
        began = time.perf_counter()
        styles = ahead(pipeline, w_plus)
        image = to_images(generator(styles=styles))[0]
        faces = backend.detect(image, effort="high")
        if not faces:
            say(f"subject {number}: no face found, left out")
            continue
        maps = torch.from_numpy(attribute_maps(faces[0].landmarks / image.shape[0], image.shape[0]))[1:]
        maps = maps.to(w_plus)
        if count and not measured:
            places = shortlist(lambda moved: generator(styles=moved), styles, indices, deviation, maps, count)
            indices, deviation = [indices[place] for place in places], deviation[places]
        masks = recognizer.crop(maps[None])[0]  # as the recognizer sees them
        measured.append(sensitivity(lambda moved: generator(styles=moved), styles, indices, deviation, masks, distance))
        say(f"subject {number}: {len(indices)} channels in {time.perf_counter() - began:.0f} s")
    if not measured:
        raise OptionError("No subject shows a face: give other people, or more of them.")
    inside, outside = (torch.stack([pair[side] for pair in measured]) for side in (0, 1))
    return select(scores(inside, outside), inside.median(0).values, indices, deviation)


def ahead(pipeline: ExpressiveCodecPipeline, w_plus: Tensor) -> list[Tensor]:
    """Styles of a neutral face that looks ahead."""
    nothing = torch.zeros(1).to(w_plus)
    return pipeline.turner.styles(pipeline.generator, w_plus, nothing, nothing)


@torch.no_grad()
def figure(pipeline: ExpressiveCodecPipeline, channels: Channels, w_plus: Tensor) -> np.ndarray:
    """What each channel does to a subject: two columns of rows of pictures, each with its name.

    Returns:
        `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB.
    """
    amounts = torch.tensor(FIGURE_AMOUNTS).to(w_plus)
    styles = ahead(pipeline, w_plus)
    rows = []
    for number, (layer, channel) in enumerate(channels.indices.tolist()):
        values = torch.zeros(len(amounts), len(channels.indices)).to(w_plus)
        values[:, number] = amounts
        batch = [style.expand(len(amounts), -1) for style in styles]
        images = to_images(pipeline.generator(styles=channels.move(pipeline.generator, batch, values)))
        name = np.full((images.shape[1], images.shape[1], 3), 255, np.uint8)
        words = (channels.attributes[number], f"{pipeline.generator.layer_names[layer]}", f"{channel}")
        for line, word in enumerate(words):
            place = (6, 40 + 24 * line)
            cv2.putText(name, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(np.concatenate([name, *images], axis=1))
    half = (len(rows) + 1) // 2
    columns = [np.concatenate(part, axis=0) for part in (rows[:half], rows[half:])]
    if len(columns[1]) < len(columns[0]):
        pad = np.full((len(columns[0]) - len(columns[1]), *columns[0].shape[1:]), 255, np.uint8)
        columns[1] = np.concatenate([columns[1], pad])
    return np.concatenate(columns, axis=1)


if __name__ == "__main__":
    run_program(main)
