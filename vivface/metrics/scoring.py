"""Score one re-enactment, frame by frame, without keeping frames."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vivface.errors import NoFaceError
from vivface.faces import choose_face, crop_quad, ffhq_quad, read_state
from vivface.faces.landmarks import Face, LandmarkBackend
from vivface.media.tensors import to_tensor
from vivface.metrics import face_state
from vivface.metrics.aed import Aed
from vivface.metrics.apd import Apd
from vivface.metrics.average import Average
from vivface.metrics.correlation import Correlation
from vivface.metrics.csim import Csim
from vivface.metrics.descriptor import DescriptorDistance
from vivface.metrics.frechet import FrechetDistance
from vivface.metrics.fvd import Fvd, mouth
from vivface.metrics.gaze import GazeError
from vivface.metrics.jitter import Jitter
from vivface.metrics.judges import Judges
from vivface.metrics.keypoint_distance import KeypointDistance
from vivface.metrics.l1 import L1
from vivface.metrics.lpips import Lpips, RecognizerDistance
from vivface.metrics.psnr import Psnr
from vivface.metrics.ssim import Ssim

SIZE = 256  # of the crops that are compared, pixels


class PairScorer:
    """Scores of one source under one driving video.

    Args:
        judges (`Judges`): Networks.
        source (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB, the portrait.
        truth (`bool`): Whether the driving frames show what the result should look like.
        least_pose (`float`, *optional*): Only frames count whose head is turned from the source's by so many degrees.

    Raises:
        NoFaceError: If the source shows no face.
    """

    def __init__(self, judges: Judges, source: np.ndarray, truth: bool, least_pose: float | None = None):
        self._judges, self._truth, self._least_pose = judges, truth, least_pose
        face = choose_face(judges.backend.detect(source), where="the source")
        self._source_state = read_state(face.points).as_array()
        self._source = {k: read(self._aligned(source, face.landmarks)) for k, read in self._identities().items()}
        self._descriptor, self._described = DescriptorDistance(), None
        if judges.descriptor is not None:
            self._described = judges.descriptor(source, face.landmarks)
        self._followers = [_Follower(judges.backend) for _ in range(2)]
        self.frames = self.faces = self.scored = 0
        self.curves: dict[str, list[float]] = defaultdict(list)
        self._images = self._image_metrics()
        self._csim = {name: Csim() for name in self._source}
        self._codes = {f"AED{_suffix(reader)}": (Aed(), Apd()) for reader in judges.coefficients}
        self._aed, self._apd, self._gaze = Aed(), Apd(), GazeError()
        self._correlations = {"expression": Correlation(6), "gaze": Correlation(2), "pose": Correlation(3)}
        self._keypoints, self._jitter, self._driving_jitter = KeypointDistance(), Jitter(), Jitter()
        self.distances: dict[str, FrechetDistance] = defaultdict(FrechetDistance)
        self._error = np.zeros((SIZE, SIZE))
        self._fvd = {name: Fvd(judges.i3d) for name in ("FVD", "FVD_M")} if judges.i3d is not None else {}

    def update(self, driving: np.ndarray, result: np.ndarray) -> None:
        """Take the next frame in.

        Args:
            driving, result (`np.ndarray` of shape `(256, 256, 3)`): uint8 RGB, cut in the same way.
        """
        self.frames += 1
        faces = [follow(image) for follow, image in zip(self._followers, (driving, result), strict=True)]
        found = all(face is not None for face in faces)
        states = [read_state(face.points).as_array() for face in faces] if found else []
        if self._least_pose is not None:
            if not found or face_state.pose_difference(self._source_state, states[0]) <= self._least_pose:
                self._break()
                return
        self.scored += 1
        device = self._device()
        pair = to_tensor([result, driving], device)
        for name, metric in self._images.items():
            self._note(name, metric.update(pair[:1], pair[1:]))
        if self._truth:
            self._error += np.abs(driving.astype(np.float32) - result).mean(axis=2)
        self._set_features(pair)
        if not found:
            self._break()
            return
        self.faces += 1
        self._score_identity(result, faces[1].landmarks)
        self._score_state(*states)
        self._score_coefficients(driving, result, faces)
        points = [torch.from_numpy(face.landmarks / SIZE) for face in faces]
        self._note("dK", self._keypoints.update(*points))
        self._note("jitter", self._jitter.update(points[1]))
        self._driving_jitter.update(points[0])

    def compute(self) -> dict[str, float | None]:
        """Scores by name, without the Frechet distances, which belong to all pairs.

        Raises:
            NoFaceError: If no frame could be scored.
        """
        if self.scored == 0:
            what = "no face" if self._least_pose is None else f"no pose {self._least_pose:g} degrees from the source's"
            raise NoFaceError(f"The {self.frames} frames show {what}: give another pair.")
        scores: dict[str, float | None] = {"face found": self.faces / self.scored}
        scores |= {name: metric.compute() for name, metric in (self._images | self._csim).items()}
        for name, (expression, pose) in self._codes.items():
            scores |= {name: expression.compute(), name.replace("AED", "APD"): pose.compute()}
        if self._described is not None:
            scores["identity distance (dlib)"] = self._descriptor.compute()
        scores |= {
            "expression distance (face state)": self._aed.compute(),
            "pose distance (face state)": self._apd.compute(),
            "gaze error (face state)": self._gaze.compute(),
            "dK": self._keypoints.compute(),
            "jitter": self._jitter.compute(),
            "jitter of driving": self._driving_jitter.compute(),
        }
        return scores | {f"{n} correlation (face state)": c.compute() for n, c in self._correlations.items()}

    @property
    def error_map(self) -> np.ndarray | None:
        """Mean absolute error of every pixel, `(256, 256)` float32, of 255; None without truth."""
        return (self._error / max(self.scored, 1)).astype(np.float32) if self._truth else None

    def frechet(self) -> dict[str, FrechetDistance]:
        """What this pair adds to the Frechet distances, by name."""
        return dict(self.distances) | {name: fvd.distance for name, fvd in self._fvd.items()}

    # Details ---------------------------------------------------------------------------------------------------------

    def _image_metrics(self) -> dict[str, Average]:
        if not self._truth:
            return {}
        metrics: dict[str, Average] = {"L1": L1(), "PSNR": Psnr(), "SSIM": Ssim()}
        if self._judges.lpips is not None:
            metrics["LPIPS"] = Lpips(self._judges.lpips)
        elif self._judges.recognizer is not None:
            metrics["feature distance (recognizer)"] = RecognizerDistance(self._judges.recognizer)
        return metrics

    def _identities(self) -> dict[str, Callable[[Tensor], Tensor]]:
        judges = self._judges
        if judges.arcface is not None:
            return {"CSIM": judges.arcface.embed}
        return {"identity similarity (recognizer)": judges.recognizer.embed} if judges.recognizer is not None else {}

    def _device(self) -> torch.device:
        network = next((n for n in (self._judges.recognizer, self._judges.arcface) if n is not None), None)
        return torch.device("cpu") if network is None else network.device

    @torch.no_grad()
    def _aligned(self, image: np.ndarray, landmarks: np.ndarray) -> Tensor:
        return to_tensor([crop_quad(image, ffhq_quad(landmarks), SIZE)], self._device())

    @torch.no_grad()
    def _set_features(self, pair: Tensor) -> None:
        if self._judges.inception is not None:
            features = self._judges.inception(pair)
            self.distances["FID"].update(features[1:], features[:1])
        elif self._judges.recognizer is not None:
            features = self._judges.recognizer.embed(pair)
            self.distances["Frechet distance (recognizer)"].update(features[1:], features[:1])
        if self._fvd:
            self._fvd["FVD"].update(pair[1:], pair[:1])
            self._fvd["FVD_M"].update(mouth(pair[1:]), mouth(pair[:1]))

    @torch.no_grad()
    def _score_identity(self, result: np.ndarray, landmarks: np.ndarray) -> None:
        for name, read in self._identities().items():
            self._note(name, self._csim[name].update(read(self._aligned(result, landmarks)), self._source[name]))
        if self._described is not None:
            described = self._judges.descriptor(result, landmarks)
            self._note("identity distance (dlib)", self._descriptor.update(described, self._described))

    def _score_state(self, driving: np.ndarray, result: np.ndarray) -> None:
        for name, read in (("expression", face_state.expression), ("pose", face_state.pose), ("gaze", face_state.gaze)):
            self._correlations[name].update(read(driving), read(result))
            metric = {"expression": self._aed, "pose": self._apd, "gaze": self._gaze}[name]
            kind = "error" if name == "gaze" else "distance"
            self._note(f"{name} {kind} (face state)", metric.update(read(result), read(driving)))
        for index, angle in enumerate(face_state.POSE):
            for who, state in (("driving", driving), ("result", result)):
                self._note(f"{angle} of {who}", face_state.pose(state)[:, index])

    def _score_coefficients(self, driving: np.ndarray, result: np.ndarray, faces: list[Face]) -> None:
        for reader in self._judges.coefficients:
            theirs, ours = reader(driving, faces[0].landmarks), reader(result, faces[1].landmarks)
            aed, apd = self._codes[f"AED{_suffix(reader)}"]
            aed.update(ours.expression, theirs.expression)
            apd.update(ours.pose, theirs.pose)

    def _note(self, name: str, values: Tensor | None) -> None:
        """Put the value `(1,)` of this frame on its curve; frames without one are NaN."""
        if values is not None:
            curve = self.curves[name]
            curve += [math.nan] * (self.scored - 1 - len(curve))
            curve.append(float(values))

    def _break(self) -> None:
        """The next frame that counts does not follow the last one."""
        for metric in (self._keypoints, self._jitter, self._driving_jitter):
            metric.reset()
        if self._least_pose is not None:
            for fvd in self._fvd.values():
                fvd.end_video()


class _Follower:
    """The largest face of a crop, followed from frame to frame; what it does is not smoothed."""

    def __init__(self, backend: LandmarkBackend):
        self._backend = backend
        self._last: Face | None = None

    def __call__(self, image: np.ndarray) -> Face | None:
        """The face in the next frame, or None."""
        face = None if self._last is None else self._backend.refine(image, self._last)
        if face is None:
            face = next(iter(self._backend.detect(image, effort="low")), None)
            if face is not None:  # settled, as in the frames that follow: else it would seem to jump
                face = self._backend.refine(image, face) or face
        self._last = face
        return face


def _suffix(reader) -> str:
    return "" if reader.name == "Deep3DFaceRecon" else f" ({reader.name})"
