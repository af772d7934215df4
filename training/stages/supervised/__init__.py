"""Supervised stage: encoder, transformer, generator and refinement trained together on renders.

A render comes with its ground truth, so the image that reenactment should give - the source identity, in the source's
light, before the source's background, doing the driving motion - exists and is the target. No generator has to be found
by adversarial training first. Every step takes P identities of one group and J motions that all of them performed, and
targets all P x J images from P source frames and J driving frames of other identities, so an encoder pass serves
several targets.

Motions are known too: controls, yaw, pitch, and where the face is in the crop. A linear map turns these labels into
motion codes (`MotionLabelEncoder`). In some grids these drive the image (teacher forcing), so transformer and generator
learn from noiseless codes what motion looks like while the encoder learns, by regression, to find the same codes in
driving frames; in the other grids, and in all of them late in the run, the encoder's codes drive.

`options` has the settings, `labels` the ground truth of a batch, `rendering` the images of a step, `terms` the table of
loss terms, `stage` the stage.
"""

from training.stages.supervised.options import SupervisedOptions
from training.stages.supervised.stage import SupervisedStage

__all__ = ["SupervisedOptions", "SupervisedStage"]
