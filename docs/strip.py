"""Draw the strip of the README: example portraits under frames of the example clip. `python docs/strip.py`."""

from pathlib import Path

import cv2
import numpy as np

from vivface import load_pipeline
from vivface.media import save_image
from vivface.media.images import load_image

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
PORTRAITS = ("astronaut.png", "man.jpg", "elder.jpg")
FRAMES = (4, 22, 38, 52, 70, 88)  # of the clip
SIDE = 230  # pixels of a picture


def square(image: np.ndarray) -> np.ndarray:
    """The middle of an image, `(SIDE, SIDE, 3)`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Run every portrait and write `docs/strip.jpg`."""
    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    rows, driving = [], None
    for name in PORTRAITS:
        identity = pipe.encode_identity(EXAMPLES / name, adapt=0)
        frames = list(pipe(identity, EXAMPLES / "driving.mp4").frames(images=True))
        driving = driving or [square(frames[k].driving) for k in FRAMES]
        rows.append(np.hstack([square(load_image(EXAMPLES / name)), *(square(frames[k].image) for k in FRAMES)]))
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    save_image(HERE / "strip.jpg", np.vstack([np.hstack([blank, *driving]), *rows]))


if __name__ == "__main__":
    main()
