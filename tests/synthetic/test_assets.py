"""Parsing of the asset formats, with the odd forms that the real files have."""

from pathlib import Path

import numpy as np
import pytest

from training.synthetic.assets import assets_folder, load_kit
from training.synthetic.formats import read_obj, read_proxy, read_target
from training.synthetic.kit import NUM_VERTICES, SKINS
from vivface.errors import OptionError

OBJ = """
v 0 5 0
v 1 5 0
v 1 6 0
v 0 6 0
v 2 5 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
g body
f 1/1 2/2 3/3 4/4
g joint-ground
f 2/2 5/3 3/4
"""


class TestTargets:
    def test_an_empty_file_has_no_effect(self, tmp_path: Path):
        path = tmp_path / "empty.target"
        path.write_text("# explicitly released as CC0\n\n")
        target = read_target(path)
        assert target.shape == (1, 3 * NUM_VERTICES)
        assert target.nnz == 0

    def test_comments_and_numbers_without_a_leading_zero(self, tmp_path: Path):
        path = tmp_path / "nose.target"
        path.write_text("# a comment\n3 -.004 0 1.5\n\n19157 .25 -1 0\n")
        delta = read_target(path).toarray().reshape(NUM_VERTICES, 3)
        np.testing.assert_allclose(delta[3], [-0.004, 0, 1.5], rtol=1e-6)
        np.testing.assert_allclose(delta[19157], [0.25, -1, 0])
        assert np.count_nonzero(delta) == 4


class TestMeshes:
    def test_only_the_asked_group_is_kept_but_all_vertices(self, tmp_path: Path):
        path = tmp_path / "base.obj"
        path.write_text(OBJ)
        vertices, uv, faces = read_obj(path, "body")
        assert (vertices.shape, uv.shape, faces.shape) == ((5, 3), (4, 2), (1, 4, 2))

    def test_triangles_repeat_their_last_corner(self, tmp_path: Path):
        path = tmp_path / "mesh.obj"
        path.write_text(OBJ)
        _, _, faces = read_obj(path)
        assert faces[1].tolist() == [[1, 1], [4, 2], [2, 3], [2, 3]]


class TestProxies:
    def read(self, folder: Path, lines: str, lowest: float = 5.0):
        base = np.array([[0, 5, 0], [1, 5, 0], [1, 6, 0], [0, 6, 0], [2, lowest, 0]], np.float32)
        (folder / "mesh.obj").write_text(OBJ)
        path = folder / "mesh.mhclo"
        head = "# a comment\nname mesh\nobj_file mesh.obj\nx_scale 0 1 2.0\ny_scale 0 3 2.0\nz_scale 0 1 2.0\n"
        path.write_text(head + lines)
        return read_proxy(path, base)

    def test_both_forms_of_a_vertex_line(self, tmp_path: Path):
        proxy = self.read(tmp_path, "verts 0\n0\n1 2 3 .5 .25 .25 0 -.1 0\n2\n3\n4\n")
        assert proxy.verts[0].tolist() == [0, 0, 0]
        assert proxy.weights[0].tolist() == [1, 0, 0]
        assert proxy.offset[0].tolist() == [0, 0, 0]
        assert proxy.verts[1].tolist() == [1, 2, 3]
        np.testing.assert_allclose(proxy.weights[1], [0.5, 0.25, 0.25])
        np.testing.assert_allclose(proxy.offset[1], [0, -0.1, 0])
        assert proxy.scale.tolist() == [[0, 1, 2], [0, 3, 2], [0, 1, 2]]

    def test_hidden_vertices_as_numbers_and_ranges_on_one_line(self, tmp_path: Path):
        proxy = self.read(tmp_path, "verts 0\n0\n1\n2\n3\n4\ndelete_verts\n12 100 - 103 7\n20-22\n")
        assert proxy.hidden.tolist() == [7, 12, 20, 21, 22, 100, 101, 102, 103]

    def test_keys_behind_the_vertices_are_read(self, tmp_path: Path):
        proxy = self.read(tmp_path, "verts 0\n0\n1\n2\n3\n4\ndelete_verts\n1 - 2\nmaterial mesh.mhmat\n")
        assert proxy.hidden.tolist() == [1, 2]
        assert len(proxy.verts) == 5

    def test_the_uv_axis_points_down(self, tmp_path: Path):
        proxy = self.read(tmp_path, "verts 0\n0\n1\n2\n3\n4\n")
        assert proxy.uv.tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]

    def test_what_a_portrait_never_shows_is_dropped(self, tmp_path: Path):
        lines = "verts 0\n0\n1\n2\n3\n4\n"
        assert len(self.read(tmp_path, lines).faces) == 2
        cut = self.read(tmp_path, lines, lowest=0.0)
        assert len(cut.faces) == 1
        assert len(cut.verts) == 4


class TestMissingAssets:
    def test_no_folder_is_given(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("VIVFACE_ASSETS", raising=False)
        with pytest.raises(OptionError, match=r"set VIVFACE_ASSETS, see training/synthetic/README\.md"):
            assets_folder()

    def test_a_folder_without_assets(self, tmp_path: Path):
        with pytest.raises(OptionError, match=r"does not hold 3dobjs/base\.obj"):
            load_kit(tmp_path, tmp_path / "cache")
        assert not (tmp_path / "cache").exists()

    def test_an_incomplete_folder_names_what_is_missing(self, assets_dir: Path, tmp_path: Path):
        (tmp_path / "assets").mkdir()
        for part in assets_dir.iterdir():
            if part.name != "modifiers":
                (tmp_path / "assets" / part.name).symlink_to(part)
        (tmp_path / "assets" / "targets").unlink()
        (tmp_path / "assets" / "targets").mkdir()
        with pytest.raises(OptionError, match=r"does not hold targets/macrodetails: add it, see .*README\.md"):
            load_kit(tmp_path / "assets", tmp_path / "cache")
        assert not list(tmp_path.glob("cache/*"))


class TestKit:
    def test_everything_the_renderer_names_is_there(self, kit, assets_dir: Path):
        assert kit.base.shape == (NUM_VERTICES, 3)
        assert {f"{name}.png" for name in SKINS} <= {p.name for p in (assets_dir / "skins" / "textures").iterdir()}
        assert kit.coverage.mean() > 0.3
        np.testing.assert_allclose(kit.skin_weights.sum(1), 1, atol=1e-5)
        assert 0 in np.diff(kit.targets.indptr)  # the assets contain targets that are empty on purpose
