"""What the columns of a table are called, and what they say."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A column: what it means, with its unit, and which value is better (`"up"`, `"down"`, or `""`)."""

    meaning: str
    better: str


METRICS = {
    "face found": Metric("share of frames in which a face is found, in driving video and result", "up"),
    "L1": Metric("mean absolute difference, images in [-1, 1]", "down"),
    "LPIPS": Metric("AlexNet, version 0.1", "down"),
    "feature distance (recognizer)": Metric("stand-in of LPIPS: features of the checkpoint's recognizer", "down"),
    "PSNR": Metric("dB, mean over frames", "up"),
    "SSIM": Metric("Gaussian window of 11, RGB", "up"),
    "CSIM": Metric("cosine to the source, ArcFace IR-SE-50", "up"),
    "identity similarity (recognizer)": Metric("stand-in of CSIM: the checkpoint's recognizer", "up"),
    "identity distance (dlib)": Metric(
        "to the source, L2 of dlib's 128-d descriptor; below 0.6 usually one person", "down"
    ),
    "FID": Metric("Inception-v3, 2048 features", "down"),
    "Frechet distance (recognizer)": Metric("stand-in of FID: the checkpoint's recognizer", "down"),
    "FVD": Metric("I3D, windows of 16 frames, of the crop", "down"),
    "FVD_M": Metric("I3D, windows of 16 frames, of the mouth", "down"),
    "AED": Metric("64 coefficients of Deep3DFaceRecon, mean absolute difference", "down"),
    "APD": Metric("3 angles of Deep3DFaceRecon, radians, mean absolute difference", "down"),
    "AED (DECA)": Metric("50 coefficients of DECA, mean absolute difference", "down"),
    "APD (DECA)": Metric("3 numbers of DECA's axis and angle, radians, mean absolute difference", "down"),
    "expression distance (face state)": Metric(
        "stand-in of AED: lids per width of the eye, lips and brows per distance of the outer eye corners", "down"
    ),
    "pose distance (face state)": Metric("stand-in of APD: yaw, pitch, roll in degrees", "down"),
    "expression correlation (face state)": Metric("stand-in of rho_AU: over time, mean of lids, lips, brows", "up"),
    "gaze correlation (face state)": Metric("stand-in of rho_GZ: over time, mean of two angles", "up"),
    "pose correlation (face state)": Metric("stand-in of rho_pose: over time, mean of three angles", "up"),
    "gaze error (face state)": Metric("degrees between the eyes' directions relative to the head", "down"),
    "dK": Metric("difference of the frame-to-frame displacement of 68 points, in crops", "down"),
    "jitter": Metric("second difference of the result's landmarks, in crops", "down"),
    "jitter of driving": Metric("the same of the driving video, for comparison", ""),
}
FRECHET = ("FID", "Frechet distance (recognizer)", "FVD", "FVD_M")  # of all pairs at once
STAND_INS = {
    "LPIPS": "feature distance (recognizer)",
    "CSIM": "identity similarity (recognizer)",
    "FID": "Frechet distance (recognizer)",
    "AED": "expression distance (face state)",
    "APD": "pose distance (face state)",
}
TRUTH = ("L1", "PSNR", "SSIM", "LPIPS", "feature distance (recognizer)")  # need the true image

#: ViVFace, tables 1 and 4, rows of the method: training data -> protocol -> metric -> value, or mean and deviation.
PUBLISHED = {
    "CelebV-HQ + HDTF": {
        "same": {"L1": 0.10, "LPIPS": 0.11, "PSNR": 22.32, "SSIM": 0.68, "CSIM": 0.80, "FID": 42.6, "AED": 4.7,
                 "APD": 0.08},
        "cross": {"CSIM": 0.79, "FID": 107.6, "AED": 9.1, "APD": 0.15},
        "robustness": {"L1": (0.09, 0.01), "CSIM": (0.77, 0.05), "AED": (4.6, 0.7), "APD": (0.09, 0.02)},
    },
    "CelebV-HQ": {
        "same": {"L1": 0.17, "LPIPS": 0.18, "PSNR": 21.7, "SSIM": 0.65, "CSIM": 0.73, "FID": 90.6, "AED": 4.2,
                 "APD": 0.08},
        "cross": {"CSIM": 0.69, "FID": 118.6, "AED": 9.3, "APD": 0.13},
    },
    "Celeb": {
        "same": {"L1": 0.17, "LPIPS": 0.27, "PSNR": 17.43, "SSIM": 0.57, "CSIM": 0.57, "FID": 143.2, "AED": 3.5,
                 "APD": 0.06},
        "cross": {"CSIM": 0.53, "FID": 149.7, "AED": 8.8, "APD": 0.07},
    },
}  # fmt: skip
DIFFERENCES = (
    "The published numbers are of other videos (the papers' test sets), at 256, so they are no ranking.",
    "The paper does not print the unit of L1; its PSNR fits images in [-1, 1] only.",
    "The paper does not say whether AED and APD sum or average coefficients; here they are averaged.",
    "FID depends on the number of frames, which the table of the paper does not state.",
)
#: Hybrid latent spaces, table 3: one-shot robustness on HDTF, mean and deviation over 5 sources of 5 videos.
PUBLISHED_ROBUSTNESS = {"LPIPS": (0.029, 0.002), "1 - CSIM": (0.11, 0.01), "FID": (15.0, 2.0), "FVD": (80.0, 10.0)}
