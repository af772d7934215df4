"""Training of HyperReenact's hypernetwork, which its authors never published.

Bounareli et al., "HyperReenact: One-Shot Reenactment via Jointly Learning to Refine and Retarget Faces" (ICCV 2023),
sec. 3.3: generator, inversion and the encoders of appearance and pose are frozen; the refinement module and the
hypernetwork learn in three phases, each of which continues the last one's run.

    inversion   source = target                        eq. 2: pixels, features, identity, gaze
    self        source and target of one person        eq. 3: the same, and shape
    cross       half of each batch as in self, half driven by another person: identity of the source, shape of the
                driver

Before them there may be a head start of ours (`start`), which makes no images.

Files: `options` are the settings, `faces` crops and what frozen networks read, `estimators` the losses of shape and
gaze, `terms` all losses, `start` the head start, `stage` puts it together.
"""

from training.stages.hyperreenact.stage import HyperReenactStage

__all__ = ["HyperReenactStage"]
