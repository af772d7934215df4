"""Draw the figure of `expressions.md`: example portraits in every preset. `python docs/expressions.py`."""

from pathlib import Path

import cv2
import numpy as np

from vivface import load_pipeline
from vivface.media import save_image
from vivface.reenactment.expressive_photo import load_preset

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
PORTRAITS = ("astronaut.png", "man.jpg")
PRESETS = ("smile", "laugh", "surprise", "sad", "angry", "kiss", "wink", "sceptical")
SIDE = 220  # pixels of a picture


def main() -> None:
    """Make every expression of every portrait and write `docs/figures/expressions.jpg`."""
    pipe = load_pipeline()
    rows = []
    for name in PORTRAITS:
        photo = pipe.expressive_photo(EXAMPLES / name)
        faces = [photo({}), *(photo(load_preset(preset)) for preset in PRESETS)]
        rows.append(np.hstack([cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in faces]))
    save_image(HERE / "figures" / "expressions.jpg", np.vstack(rows))


if __name__ == "__main__":
    main()
