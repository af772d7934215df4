"""The share of every pipeline that is tuned to a portrait."""

from __future__ import annotations

import os
from typing import ClassVar

import torch

from vivface.errors import OptionError
from vivface.reenactment.adjustment import DRIVING_FRAMES, adjust
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.portrait import cut_face
from vivface.reenactment.portrait_tuning import CODE_STEPS, SeenView
from vivface.reenactment.portrait_views import VIEWS, portrait_views
from vivface.reenactment.progress import OnProgress, Progress
from vivface.reenactment.tuning import Tuning, TuningNetworks
from vivface.warping.framing import MOST_SIZE


class Tunable:
    """Tuning of a copy of the generator; mixed into `ReenactmentPipeline`.

    Attributes:
        TUNES_TO_VIEWS (`bool`): Whether the checkpoint's own tuning sees the portrait in other poses, too.
    """

    TUNES_TO_VIEWS: ClassVar[bool] = False

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of the networks, for a tuning.

        Args:
            identity (`IdentityCode`, *optional*): The portrait; a generator that was tuned to it is tuned on.

        Raises:
            OptionError: If this system, or this checkpoint, is not tuned.
        """
        raise OptionError(f"{type(self).__name__} is not tuned to portraits: leave `adapt` out or give 0.")

    @torch.no_grad()
    def adjust_manifold(
        self,
        identity: IdentityCode,
        driving: str | os.PathLike | MotionCodes | None = None,
        method: str = "cma",
        steps: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> IdentityCode:
        """Tune a copy of the generator to a portrait, or to a portrait and a driving video together.

        The pipeline's own networks stay as they are. Save the result to tune once only.

        Args:
            identity (`IdentityCode`): What `encode_identity` gave; if it has a generator already, that is tuned on.
            driving (`str`, `os.PathLike` or `MotionCodes`, *optional*): The driving video, which `"cma"` needs: a file
                or what `encode_motion` gave.
            method (`str`, *optional*, defaults to `"cma"`): `"cma"`, Cyclic Manifold Adjustment (Robust One-Shot Face
                Video Re-enactment using Hybrid Latent Spaces of StyleGAN2, eq. 15-18); `"pti"`, plain pivotal tuning;
                `"portrait"`, the tuning of `encode_identity`.
            steps (`int`, *optional*): Optimiser steps; 0 changes nothing; by default 100.
            learning_rate (`float`, *optional*): Of the generator; by default as suits the method.
            seed (`int`, *optional*, defaults to 0): Of what is drawn at random.
            on_progress (callable, *optional*): Told before every step; may raise to stop.

        Returns:
            `IdentityCode`: With a generator of its own.

        Raises:
            OptionError: If an option is out of its range, or `"cma"` has no driving video.
            NoFaceError: If the driving video shows no face.
            MediaError: If the driving video cannot be read or the identity belongs to another checkpoint.
        """
        tuning = Tuning(method, steps, learning_rate)
        if isinstance(driving, str | os.PathLike):
            driving = self._motion(driving)
        if method == "cma" and driving is None:
            raise OptionError("`method` is 'cma', which needs a driving video: give one, or take 'pti' or 'portrait'.")
        self._evaluate()
        return self._adjusted(self._own(identity), tuning, seed, on_progress, driving)

    @torch.no_grad()
    def _adjusted(
        self,
        identity: IdentityCode,
        tuning: Tuning,
        seed: int,
        on_progress: OnProgress | None,
        driving: MotionCodes | None = None,
    ) -> IdentityCode:
        if tuning.steps == 0:
            return identity
        networks = self.tuning_networks(identity)
        if tuning.method == "cma" and networks.face is not None:
            raise OptionError(
                f"`adapt` is 'cma', which {type(self).__name__} has no use for: take 'portrait', 'pti' or a number of "
                "steps."
            )
        driving_images = None
        if tuning.method == "cma":
            reading = Progress("adapting", 0, tuning.steps)
            crops = driving.crops(DRIVING_FRAMES, None if on_progress is None else lambda: on_progress(reading))
            driving_images = self.images(crops)
        image = self.images([cut_face(identity.photo, identity.quad, self.config.crop, self.output_size)])
        views = self._views(identity, seed) if tuning.method == "portrait" and tuning.steps > CODE_STEPS else []
        options = dict(driving_images=driving_images, views=views, seed=seed, on_progress=on_progress)
        return adjust(networks, identity, image, tuning, **options)

    def _views(self, identity: IdentityCode, seed: int) -> list[SeenView]:
        """The portrait in other poses, and their motion codes; none where it has no points of a face."""
        if not self.TUNES_TO_VIEWS or identity.points is None:
            return []
        seen, size = [], max(self.output_size, min(2 * self.output_size, MOST_SIZE))
        for view in portrait_views(identity, self.crops, size, VIEWS, seed):
            image = self.images([view.crop(self.config.crop, self.output_size)]).float()
            motion = self.read_motion(self.images([view.crop(self.motion_crop, self.motion_size)])).float()
            seen.append(SeenView(image, motion))
        return seen
