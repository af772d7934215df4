"""Write the model card of a checkpoint: python model_card/fill.py FOLDER [--training FILE] [--metrics FILE] [--name ID]

The records are copied into the folder, where later cards and `vivface push` find them; `vivface.hub.card` describes
them.
"""

import argparse
import shutil
import sys
from pathlib import Path

from vivface.errors import VivFaceError
from vivface.hub.card import METRICS, TRAINING, make_card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the checkpoint's folder")
    parser.add_argument("--training", type=Path, help="training record (JSON)")
    parser.add_argument("--metrics", type=Path, help="measured metrics (JSON)")
    parser.add_argument("--name", help="title, and Hub id in the examples; the folder's name by default")
    options = parser.parse_args()
    for record, name in ((options.training, TRAINING), (options.metrics, METRICS)):
        if record is not None and record.resolve() != (options.folder / name).resolve():
            shutil.copyfile(record, options.folder / name)
    try:
        make_card(options.folder, options.name).save(options.folder / "README.md")
    except VivFaceError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    print(options.folder / "README.md")


if __name__ == "__main__":
    main()
