"""Draw the pictures of the README: example portraits under the example clip. `python docs/strip.py`."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vivface import load_pipeline
from vivface.media import save_image
from vivface.media.images import load_image

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
PORTRAITS = ("astronaut.png", "man.jpg", "elder.jpg")
FRAMES = (4, 22, 38, 52, 70, 88)  # of the clip
SIDE = 230  # pixels of a picture
MOVING, EVERY, SECONDS = ("astronaut.png", "man.jpg"), 2, 2 / 25  # of the moving picture; frames apart


def square(image: np.ndarray) -> np.ndarray:
    """The middle of an image, `(SIDE, SIDE, 3)`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Run every portrait and write `docs/strip.jpg` and `docs/moving.webp`."""
    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    rows, driving, moving = [], None, []
    for name in PORTRAITS:
        identity = pipe.encode_identity(EXAMPLES / name, adapt=0)
        frames = list(pipe(identity, EXAMPLES / "driving.mp4").frames(images=True))
        if name in MOVING:
            moving = moving or [[square(frame.driving) for frame in frames[::EVERY]]]
            moving.append([square(frame.image) for frame in frames[::EVERY]])
        driving = driving or [square(frames[k].driving) for k in FRAMES]
        rows.append(np.hstack([square(load_image(EXAMPLES / name)), *(square(frames[k].image) for k in FRAMES)]))
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    save_image(HERE / "strip.jpg", np.vstack([np.hstack([blank, *driving]), *rows]))
    first, *others = (Image.fromarray(np.hstack(side)) for side in zip(*moving, strict=True))
    options = {"duration": round(1000 * SECONDS), "loop": 0, "quality": 60, "method": 6}
    first.save(HERE / "moving.webp", save_all=True, append_images=others, **options)


if __name__ == "__main__":
    main()
