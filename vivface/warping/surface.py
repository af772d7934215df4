"""The portrait's head as a surface of triangles: the face's mesh, rings around it that follow the head, and a rim.

The rings, see `vivface.warping.rings`, stand for ears, hair and neck. Beyond the crop nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from vivface.faces.networks.attention_mesh import LIPS
from vivface.faces.pose import HeadPose
from vivface.warping.folds import Unfolding
from vivface.warping.hair import RINGS_FOLLOW, around_outline, follows_outline, hair_beside, outline_held
from vivface.warping.mesh import (
    MESH,
    PosedFace,
    eye_loops,
    from_outline,
    lip_loop,
    mirror,
    neighbours,
    place,
    step,
    to_outline,
    triangles,
)
from vivface.warping.rings import (
    CLEAR,
    OPEN,
    around,
    beside_face,
    evened,
    farther_out,
    head_rings,
    outline_of_head,
    outside_of_face,
    strip,
)

RINGS = 3  # see `head_rings`
BEYOND = 0.25  # crops beyond which nothing moves
EXPOSED = (0.05, 0.45)  # cosines by which a point faces the camera more than in the portrait: begins to count, counts
GRAZING = (0.15, 0.5)  # cosine to the camera in the portrait: hardly seen, well seen
UNSEEN = (0.15, 0.4)  # the same of a point that is hardly seen even in the middle of the face
CHEEKS = (0.0, 20.0)  # millimetres below the eyes where skin begins and is all there is: above them may be hair
LEAST_SHARE = 0.02  # of what follows: less is not seen
INWARDS = 0.16  # of the way to the middle of the face, from where such points take their colours
BEFORE_LIPS = 0.5  # of the way to the lips, beyond which they do not take any
ROOM, ROOM_WITHIN = 2.5, (24.0, 32.0)  # times as far: where points make room for those of the outline; millimetres
NOT_FACING = (-0.7, -0.35)  # minus the cosine to the camera at which a point begins to be and is hidden ...
HIDDEN = (0.15, 0.4)  # ... if the point on the other side is seen that much better
SHOWN = (0.2, 0.8)  # of both: from where on the other side shines through, and where it is all that is shown
SPREAD = 2  # times that this spreads to the points around it, ...
ONE_SIDE = (0.25, 0.75)  # ... and from where and where on it counts then
PERSON = 0.95  # opacity of what is the person
STEP, MOST_STEPS = 0.02, 8  # of the way to the middle of the face that a point outside goes at a time
TORN = (1.24, 1.34)  # times as wide as in the portrait at which what lies beside the face is torn: begins to be, is ...
WIDER = (1.58, 1.68)  # ... if it is so many times as wide on the other side
LEAST_WIDTH = 0.01  # crops
JUST_BEYOND = 0.15  # of the way from the outer ring to the rim, from where on nothing is shown of the other side ...
LEAST_BEYOND = 0.03  # ... and crops: pixels in thin triangles would be moved by one
HAIR = (0.0, 15.0)  # millimetres above the eyes where what is on the other side may be, is hair
WAY = (0.05, 1.7)  # of the way to the ring: least and most that is found to be the person ...
PLACES = 40  # ... of places looked at
LOBE = 50.0  # millimetres below the eyes down to which ears reach
NEAR_OUTLINE = (12.0, 35.0)  # millimetres from the outline of the face up to which it is, and from where on not at all
BESIDE = (0.0, 0.2)  # shares of the face's half width at which something lies beside it: begins, does ...
BELOW = (35.0, 60.0)  # ... and millimetres below the eyes where that ends and neck and clothes are


class HeadSurface:
    """A portrait's head.

    Args:
        points (`np.ndarray` of shape `(478, 3)`): In the portrait's crop.
        beyond (`float`, *optional*): Crops beyond the crop from where on nothing moves.

    Attributes:
        corners (`np.ndarray` of shape `(T, 3)`): Points of the triangles.
        source (`np.ndarray` of shape `(P, 3)`): Points in the portrait, those of the mesh first.
        values (`np.ndarray` of shape `(P, 5)`): Of the points: x and y in the portrait; x and y of the point on the
            other side of the face; and how far that one is to be shown instead, in [0, 1].
    """

    def __init__(self, points: np.ndarray, beyond: float = BEYOND):
        face, surface = PosedFace.of(points), triangles()
        outline = surface.outline
        self._face, self._mesh, self._beyond = face, points[:MESH], beyond
        self._unfold, self._across = Unfolding(face.shape), _across()
        self._beside = beside_face(face.shape[outline])
        self._wide = _widths(points, place(self._beside, face.pose))
        self._narrow = step(self._wide[self._across] / self._wide, *WIDER)
        loops = _loops()
        strips = [strip(inner, outer) for inner, outer in zip(loops, loops[1:], strict=False)]
        self.corners = np.concatenate([surface.corners, *strips])
        self._around = np.arange(len(self.corners)) >= len(surface.corners)
        self._inside = np.any([np.isin(self.corners, loop).all(1) for loop in (lip_loop(), *eye_loops())], 0)
        self._facing, self._center = facing(points[:MESH]), points[[1, 168], :2].mean(0)
        self._lay_rings()
        mesh = points[:MESH, :2]
        self._before_lips = BEFORE_LIPS * np.linalg.norm(mesh[:, None] - mesh[None, LIPS], axis=2).min(1)  # (468,)
        self._from_edge = np.linalg.norm(mesh[:, None] - mesh[None, outline], axis=2)
        self._hair = np.zeros(len(outline))  # where the face gets no wider
        self._ends = np.zeros(len(outline))  # where the outer ring may show the other side: hair that ends, or is above
        self._reaches = np.ones((2, len(outline)))  # of the way to the ring that is the person, here and across
        near = (1 - step(from_outline(), *NEAR_OUTLINE)) * (1 - step(self._facing, *GRAZING))
        cheeks = step(triangles().layout[:, 1], *CHEEKS) * _beside_outline().max(1)
        self._few_pixels = (1 - step(self._facing, *GRAZING)) * cheeks  # (468,)
        self._hardly_seen = np.maximum(near, 1 - step(self._facing, *UNSEEN))  # (468,)

    def _lay_rings(self, reach: np.ndarray | None = None) -> None:
        """Lay the rings around the face in the portrait, as far out as `head_rings` is told."""
        pose = self._face.pose
        self._rings, self._follows = head_rings(self._face, reach)
        self._laid = place(self._rings, pose)
        still = zip(self._laid[0], CLEAR, strict=True)
        self._still = np.stack([outside_of_face(ring, self._mesh[:, :2], clear) for ring, clear in still])
        self._rim = around(self._still[-1], pose.center, self._beyond)
        self.source = self._points(self._mesh, self._still)
        self.values = np.concatenate([self.source[:, :2], self._other_side()], 1)

    def target(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """Points `(P, 3)` of the head under a shape `(478, 3)` and a pose."""
        moved = self._follows[:, None] * (place(self._rings, pose) - self._laid)
        rings = farther_out(self._still + moved, pose.center[:2])
        mesh = place(self._unfold(shape)[:MESH], pose)
        if self._hair.any():
            shift = outline_held(mesh, self.source[:MESH], pose.scale / self._face.pose.scale, self._hair)
            mesh[:, :2] += follows_outline() @ shift
            rings[..., :2] += np.array(RINGS_FOLLOW)[:, None, None] * shift
        return self._points(mesh, rings)

    def see_hair(self, person: Callable[[np.ndarray], np.ndarray]) -> None:
        """Look for hair beside the face, in what `person` says, see `hair_beside`; the other side's is not held."""
        self._hair = (1 - self._narrow) * hair_beside(self.source[:MESH, :2], self.source[_loops()[1], :2], person)
        self._few_pixels = self._few_pixels * (1 - around_outline() @ self._hair)

    def _points(self, mesh: np.ndarray, rings: np.ndarray) -> np.ndarray:
        """All points `(P, 3)`: of the mesh, of the rings, of one just beyond these, and of the rim."""
        away = self._rim - rings[-1]
        wide = np.maximum(np.linalg.norm(away[:, :2], axis=1, keepdims=True), 1e-9)
        beyond = rings[-1] + np.clip(LEAST_BEYOND / wide, JUST_BEYOND, 0.5) * away
        return np.concatenate([mesh, *rings, beyond, self._rim])

    def part_from_background(self, opacity: Callable[[np.ndarray], np.ndarray]) -> None:
        """Lay the rings where head and hair end, and let no point of the face take its colours from the background.

        The mesh network draws the far cheek of a turned head a little too wide.

        Args:
            opacity (callable): How much of the person is at places `(N, 2)` of the portrait's crop: `(N,)`, in [0, 1].
        """
        reach = outline_of_head(self._face, opacity)
        ends = (reach < OPEN)[self._across]
        self._lay_rings(reach + ends * self._narrow * (reach[self._across] - reach))
        for _ in range(MOST_STEPS):
            outside = opacity(self.values[:MESH, :2]) < PERSON
            self.values[:MESH, :2][outside] += STEP * (self._center - self.values[:MESH, :2][outside])
        below_eyes = triangles().layout[triangles().outline, 1]
        self._ends = np.maximum(ends, step(-below_eyes, *HAIR))
        edge, near = (self.source[loop, :2] for loop in _loops()[:2])
        way = edge + np.linspace(0, WAY[1], PLACES)[:, None, None] * (near - edge)
        shares = (opacity(way.reshape(-1, 2)).reshape(way.shape[:2]) > 0.5).mean(0)
        reach = (shares * WAY[1]).clip(*WAY)
        ends = (reach < WAY[1]) & (reach[self._across] < WAY[1])
        reach = np.where(ends & (below_eyes < LOBE), reach, 1)
        self._reaches = np.stack([reach, reach[self._across]])

    def hold(self) -> None:
        """Keep what lies around the face where it is, and what the portrait hides hidden: of a head that stays."""
        self._follows = np.zeros_like(self._follows)
        self._hair = np.zeros_like(self._hair)
        self.values[:, 4], self._narrow = 0, np.zeros_like(self._narrow)

    @property
    def two_sided(self) -> bool:
        """Whether a side of the face is hidden in the portrait, so that the other one is shown there too."""
        return bool(max(self.values[:, 4].max(), self._narrow.max()) > 0.02)

    def shown_values(self, target: np.ndarray, pose: HeadPose) -> np.ndarray:
        """`values` for a target `(P, 3)` and its pose: what to show of a side that turns to the camera.

        Points near the outline, where the portrait shows a few pixels and then the background, take their colours from
        farther inside, but not from the lips, the more the target shows of them; not those of lips, whose inside is the
        mouth. What lies beside the face, ear and hair, is that of the other side where the portrait shows too little
        of it. Where nothing is, there are only the first two values.
        """
        exposed = facing(target[:MESH]) - self._facing
        share = step(exposed, *EXPOSED) * self._few_pixels
        values = (self.values if self.two_sided else self.values[:, :2]).copy()
        inwards, edge = INWARDS * (self._center - values[:MESH, :2]), triangles().outline
        length = np.linalg.norm(inwards, axis=1)
        moves = np.flatnonzero(share[edge] > LEAST_SHARE)
        if len(moves):
            edge = edge[moves]
            reach = ROOM * share[edge] * length[edge]
            room = _beside_outline()[:, moves] * np.maximum(1 - self._from_edge[:, moves] / reach, 0)
            share = np.maximum(share, (room * share[edge]).max(1))
        share = np.minimum(share, self._before_lips / np.maximum(length, 1e-9))
        values[:MESH, :2] += share[:, None] * inwards
        if self.two_sided:
            self._show_other_side(values, target, pose)
            back = self.values[:MESH, :2] - values[:MESH, :2]  # where the other side is shown, nothing is drawn out
            values[:MESH, :2] += values[:MESH, 4:] * back
        return values if values[:, 4:].any() else values[:, :2]

    def _show_other_side(self, values: np.ndarray, target: np.ndarray, pose: HeadPose) -> None:
        """Set in `values` where what lies beside the face is that of its other side, which a turn would tear."""
        torn = step(_widths(target, place(self._beside, pose)) / self._wide, *TORN) * self._narrow
        sides = _sides()
        right, left = (torn * sides).max(1)  # all of a side
        torn = np.maximum(right * sides[0], left * sides[1])
        outline, near, middle, far, *_ = _loops()
        for loop in (outline, near):
            values[loop, 4] = np.maximum(values[loop, 4], torn)
        self._as_wide(values, torn)
        values[middle, 4] = torn * (1 + self._ends) / 2
        values[far, 4] = torn * self._ends  # long hair hangs farther down, and not alike on both sides
        torn = np.where(triangles().layout[:, 0] < 0, right, left) * self._hardly_seen
        values[:MESH, 4] = np.maximum(values[:MESH, 4], torn)

    def _as_wide(self, values: np.ndarray, share: np.ndarray) -> None:
        """Make what lies beside the face reach equally far on both sides, so that no two ears are seen in one.

        Args:
            values (`np.ndarray` of shape `(P, 5)`): Changed at the ring.
            share (`np.ndarray` of shape `(N,)`): How much of the other side is shown, in [0, 1].
        """
        edge, near, *_ = _loops()
        own, other = self._reaches
        both = own + share * (other - own)
        for part, reach in ((np.s_[:2], own), (np.s_[2:4], other)):
            scale = reach / both
            scale = evened(scale)[:, None]
            values[near, part] = values[edge, part] + scale * (values[near, part] - values[edge, part])

    def _other_side(self) -> np.ndarray:
        """Positions of the mirrored points and their weights `(P, 3)`."""
        around = np.concatenate([loop[self._across] for loop in _loops()[1:]])
        other = self.source[np.concatenate([mirror(), around]), :2]
        own = self._facing
        hidden = step(step((own[mirror()] - own) / 2, *HIDDEN) * step(-own, *NOT_FACING), *SHOWN)
        for _ in range(SPREAD):  # a lip is to be of one side, not of patches
            hidden = (hidden + neighbours() @ hidden) / 2
        hidden = step(hidden, *ONE_SIDE)
        hidden = np.concatenate([hidden, np.zeros(len(around))])
        return np.concatenate([other, hidden[:, None]], 1)

    def order(self, target: np.ndarray) -> np.ndarray:
        """Triangles `(T,)` from back to front: what lies around the face is behind it, eyes and mouth behind skin."""
        depth = target[self.corners, 2].mean(1) + 10.0 * self._around + 1.0 * self._inside
        return np.argsort(-depth, kind="stable")


@cache
def _loops() -> list[np.ndarray]:
    """Numbers `(N,)` of points as they lie in `HeadSurface.source`: outline, rings, what is just beyond, rim."""
    outline = triangles().outline
    return [outline, *(MESH + k * len(outline) + np.arange(len(outline)) for k in range(RINGS + 2))]


@cache
def _beside_outline() -> np.ndarray:
    """Which points of the mesh may make room for those of the outline `(468, N)`, from 0 to 1; lips may not."""
    return 1 - step(to_outline(), *ROOM_WITHIN)


def _across() -> np.ndarray:
    """The point of the outline on the other side, for each `(N,)`."""
    place_of = {int(point): k for k, point in enumerate(triangles().outline)}
    return np.array([place_of.get(int(mirror()[point]), k) for point, k in place_of.items()])


@cache
def _sides() -> np.ndarray:
    """How far points of the outline lie at the right and at the left side of the face `(2, N)`, in [0, 1]."""
    x, y, _ = triangles().layout[triangles().outline].T
    return np.stack([step(side * x / np.abs(x).max(), *BESIDE) for side in (-1, 1)]) * (1 - step(y, *BELOW))


def _widths(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """How wide it is between a face's outline and a ring `(N, 3)` around it, in its image: `(N,)`, crops.

    Args:
        points (`np.ndarray` of shape `(P, 3)`): Those of the mesh first.
        ring (`np.ndarray` of shape `(N, 3)`): The ring, whether the face covers it or not.
    """
    outline = points[triangles().outline, :2]
    away = outline - points[[1, 168], :2].mean(0)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.maximum(((ring[:, :2] - outline) * away).sum(1), LEAST_WIDTH)


def facing(points: np.ndarray) -> np.ndarray:
    """Cosine between the surface's normal at each point `(468, 3)` of the mesh and the way to the camera `(468,)`."""
    corners = triangles().corners
    first, second, third = (points[corners[:, k]] for k in range(3))
    normals = np.cross(second - first, third - first)
    layout = triangles().layout[corners]
    flat = np.cross(layout[:, 1] - layout[:, 0], layout[:, 2] - layout[:, 0])
    normals *= np.sign(flat[:, 2:])  # as they lie, all of them face the camera in the layout
    sums = np.zeros((MESH, 3))
    for k in range(3):
        np.add.at(sums, corners[:, k], normals)
    return sums[:, 2] / np.maximum(np.linalg.norm(sums, axis=1), 1e-9)
