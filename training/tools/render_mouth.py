"""Draw what lies behind the lips, each part alone: upper teeth, lower teeth, tongue.

    python -m training.tools.render_mouth --assets DIR

One synthetic head from MakeHuman's CC0 assets looks into a distant camera, its jaw shut; skin is left out. The parts
are measured in millimetres of the mean face and stored in `vivface/warping/mouth.safetensors`, see
`vivface.warping.mouth`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import moderngl
import numpy as np
from safetensors.numpy import save_file

from training.synthetic.motion import controls_from
from training.synthetic.person import sample_person
from training.synthetic.renderer import LIGHT_LOSS, Renderer
from training.synthetic.scene import Scene
from training.synthetic.shards import shared_renderer
from training.synthetic.subject import Subject
from training.tools.programs import program_parser, run_program
from vivface.faces.ibug import MESH_POINTS
from vivface.faces.pose import calibration

OUT = Path(__file__).parents[2] / "vivface" / "warping" / "mouth.safetensors"
SEED = 17  # a person with even teeth
SIZE = 1024
WIDTH = 64.0  # millimetres across the image
DENSITY = 6  # pixels a millimetre of what is stored
ABOVE, BELOW = 22.0, 22.0  # millimetres above and below the edge of the teeth that are stored
FLOOR = (10.5, 13.5)  # millimetres below the edge of the lower teeth where their gum fades into the dark
ANCHORS = np.array([27, 30, 31, 33, 35, 36, 39, 42, 45, 48, 54])  # landmarks: nose, corners of eyes and mouth
PARTS = ("upper", "lower", "tongue")


class PlainScene(Scene):
    """A scene before nothing."""

    def background(self, size: int) -> np.ndarray:
        """Black `(size, size, 3)`, uint8 RGB."""
        return np.zeros((size, size, 3), np.uint8)


def even_light() -> PlainScene:
    """Light from the camera and a little above, as a flash gives it."""
    key = np.array([0.1, 0.45, 1.0])
    return PlainScene(
        key_direction=key / np.linalg.norm(key), key=np.full(3, 0.8), fill_direction=np.array([0.0, 0.0, 1.0]),
        fill=np.full(3, 0.15), rim_direction=np.array([0.0, 0.0, -1.0]), rim=np.zeros(3), sky=np.full(3, 0.45),
        ground=np.full(3, 0.25), exposure=1.0, distance=60.0, seed=0,
    )  # fmt: skip


def millimetres(landmarks: np.ndarray) -> tuple[float, np.ndarray]:
    """From a head's decimetres to millimetres of the mean face: `scale * [x, -y, -z] + shift`.

    Args:
        landmarks (`np.ndarray` of shape `(68, 3)`): Of the head.
    """
    mean = calibration()["canonical"][MESH_POINTS][ANCHORS]
    head = landmarks[ANCHORS] * [1, -1, -1]
    a, b = head - head.mean(0), mean - mean.mean(0)
    scale = float((a[:, :2] * b[:, :2]).sum() / (a[:, :2] ** 2).sum())
    return scale, mean.mean(0) - scale * head.mean(0)


def split_teeth(subject: Subject) -> dict[str, np.ndarray]:
    """Triangles of the parts: what the jaw moves of the teeth is the lower row."""
    head = subject.head
    moved = np.abs(head.deform(controls_from(jaw_open=1.0)[None])[0, :, :3] - head.rest[:, :3]).sum(1)
    teeth = head.parts["teeth"]
    moves = moved[teeth] > 0.02  # triangles between both rows are left out
    upper, front = teeth[~moves.any(1)], head.rest[:, 2] > head.landmarks[60:, 2].mean() - 0.15
    lowest = head.rest[np.unique(upper)][front[np.unique(upper)], 1].min()
    upper = upper[(head.rest[upper, 1] > lowest - 0.005).all(1)]  # what hangs lower joins the gums behind
    return {"upper": upper, "lower": teeth[moves.all(1)], "tongue": head.parts["tongue"]}


def draw(renderer: Renderer, subject: Subject, mesh: str, triangles: np.ndarray, loss: float) -> np.ndarray:
    """One part alone: float32 RGBA `(SIZE, SIZE, 4)` in [0, 1], colours not multiplied by coverage."""
    ctx = renderer.ctx
    renderer._prepare(subject)
    subject.dynamic.write(np.ascontiguousarray(subject.head.rest, np.float32))
    subject.indices[mesh] = ctx.buffer(np.ascontiguousarray(triangles, np.int32).tobytes())
    subject.arrays[mesh] = {"mouth": subject._array(renderer, mesh, "mouth")}
    bones = np.swapaxes(np.tile(np.eye(4, dtype=np.float32), (5, 1, 1)), 1, 2)
    renderer.shadow.use()
    renderer.shadow.clear(depth=1.0)
    renderer.target.use()
    renderer.target.clear(0, 0, 0, 0, depth=1.0)
    renderer.shadow_texture.use(1)
    renderer.set_uniforms("mouth", bones=bones, mouth_open=1.0, lids=np.zeros(2))
    ctx.enable_only(moderngl.DEPTH_TEST)
    renderer._draw(subject, mesh, swallow=loss)
    inner = renderer.size * renderer.supersample
    data = np.frombuffer(renderer.target.read(components=4, alignment=1), np.uint8).reshape(inner, inner, 4)[::-1]
    image = data.astype(np.float32) / 255
    image[..., :3] *= image[..., 3:]
    image = cv2.resize(image, (renderer.size, renderer.size), interpolation=cv2.INTER_AREA)
    image[..., :3] /= np.maximum(image[..., 3:], 1e-3)
    return image


def edge_of_teeth(image: np.ndarray, upper: bool) -> float:
    """The row of the front teeth's edge: the median over the columns of the middle 10 millimetres."""
    teeth = (image[..., 1] > 0.3) & (image[..., 3] > 0.5)
    reach = int(5 / WIDTH * SIZE)
    rows = [np.flatnonzero(column) for column in teeth[:, SIZE // 2 - reach : SIZE // 2 + reach].T]
    return float(np.median([found[-1] if upper else found[0] for found in rows if len(found)]))


def stored(image: np.ndarray, edge: float, fade: bool) -> np.ndarray:
    """A part as the bytes of a PNG: BGRA, its row `ABOVE * DENSITY` at the edge of the teeth."""
    zoom = DENSITY * WIDTH / SIZE
    size = (int(WIDTH * DENSITY), int((ABOVE + BELOW) * DENSITY))
    move = np.array([[zoom, 0, 0.5 * zoom - 0.5], [0, zoom, ABOVE * DENSITY - edge * zoom]])
    image = image.copy()
    image[..., :3] *= image[..., 3:]
    image = cv2.warpAffine(cv2.GaussianBlur(image, (0, 0), 0.5 / zoom), move, size)
    color = image[..., :3] / np.maximum(image[..., 3:], 1e-3)
    if fade:
        below = np.arange(size[1])[:, None] / DENSITY - ABOVE
        image[..., 3] *= 1 - np.clip((below - FLOOR[0]) / (FLOOR[1] - FLOOR[0]), 0, 1)
    color[image[..., 3] < 0.004] = 0
    out = np.concatenate([color[..., ::-1], image[..., 3:]], 2).clip(0, 1)
    return cv2.imencode(".png", (out * 255).round().astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].ravel()


def arch(points: np.ndarray) -> np.ndarray:
    """Depth of a part's front `(2,)`: millimetres from the lips in the middle, and how it grows with x squared."""
    lips = calibration()["canonical"][[13, 14], 2].mean()
    columns = np.round(points[:, 0] / 4)
    front = np.array([points[columns == c][points[columns == c, 2].argmin()] for c in np.unique(columns)])
    front = front[np.abs(front[:, 0]) < 26]
    bend = np.stack([np.ones(len(front)), front[:, 0] ** 2], 1)
    middle, square = np.linalg.lstsq(bend, front[:, 2] - lips, rcond=None)[0]
    return np.array([middle, square])


def main() -> None:
    """Run the program."""
    parser = program_parser("render_mouth", __doc__)
    parser.add_argument("--assets", help="folder of MakeHuman assets; VIVFACE_ASSETS by default")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--sheet", type=Path, help="also write the parts as one picture")
    args = parser.parse_args()
    renderer = shared_renderer(args.assets, None, SIZE, 1)
    person = replace(sample_person(renderer.kit, args.seed), teeth_tint=np.ones(3))
    subject = Subject(renderer, person, even_light())
    scale, shift = millimetres(subject.head.landmarks)
    lips = subject.head.landmarks[[61, 62, 63, 65, 66, 67]].mean(0)
    subject.centre, subject.half = np.array([0.0, lips[1], lips[2]]), WIDTH / 2 / scale
    arrays: dict[str, np.ndarray] = {}
    edge = 0.0
    for part, triangles in split_teeth(subject).items():
        mesh = "tongue" if part == "tongue" else "teeth"
        image = draw(renderer, subject, mesh, triangles, LIGHT_LOSS[mesh] * 0.3)
        if part != "tongue":  # the tongue is measured from the edge of the lower teeth
            edge = edge_of_teeth(image, upper=part == "upper")
        points = subject.head.rest[np.unique(triangles), :3] * [1, -1, -1] * scale + shift
        arrays[part] = stored(image, edge, fade=part == "lower")
        print(f"{part}: {arrays[part].nbytes / 1024:.0f} KiB, arch {arch(points).round(4).tolist()}")
    subject.release()
    save_file(arrays, args.out)
    if args.sheet:
        parts = [cv2.imdecode(arrays[part], cv2.IMREAD_UNCHANGED).astype(np.float32) / 255 for part in PARTS]
        shown = np.vstack([p[..., :3] * p[..., 3:] + [0.5, 0.3, 0.1] * (1 - p[..., 3:]) for p in parts])
        cv2.imwrite(str(args.sheet), (shown * 255).round().astype(np.uint8))


if __name__ == "__main__":
    run_program(main)
