"""`vivface convert directions`: vectors and components of other authors become named directions."""

import numpy as np
import pytest
import torch

from tests.convert.command import convert, refused
from vivface.editing.directions import AttributeDirections


@pytest.fixture
def age(tmp_path):
    vector = torch.randn(1, 512)
    torch.save(vector, tmp_path / "age.pt")
    return vector


def test_vectors(age, tmp_path):
    np.save(tmp_path / "Smile.npy", np.arange(18 * 512, dtype=np.float64).reshape(1, 18, 512))
    out = tmp_path / "directions.safetensors"
    outcome = convert("directions", tmp_path / "age.pt", f"grin={tmp_path / 'Smile.npy'}", "-o", out)
    assert "age" in outcome.out and "grin" in outcome.out
    directions = AttributeDirections.load(out)
    assert list(directions) == ["age", "grin"]
    assert torch.equal(directions["age"].vector, age.expand(18, -1))
    assert torch.equal(directions["grin"].vector, torch.arange(18.0 * 512).reshape(18, 512))
    assert directions["age"].label == "Age" and directions["age"].space == "w_plus"


@pytest.mark.parametrize("kind", ["ganspace", "e4e"])
def test_components(tmp_path, kind):
    components, deviations = torch.randn(3, 1, 512), torch.tensor([3.0, 2.0, 1.0])
    if kind == "ganspace":
        arrays = {"lat_comp": components, "lat_mean": torch.zeros(1, 1, 512), "lat_stdev": deviations}
        arrays |= {"act_comp": torch.zeros(3, 1, 512), "var_ratio": torch.zeros(3)}
        file = tmp_path / "pca.npz"
        np.savez(file, **{name: tensor.numpy() for name, tensor in arrays.items()})
    else:
        file = tmp_path / "pca.pt"
        torch.save({"comp": components, "mean": torch.zeros(1, 512), "std": deviations}, file)
    convert("directions", file, "-o", tmp_path / "out.safetensors", "--latents", "14")
    directions = AttributeDirections.load(tmp_path / "out.safetensors")
    assert list(directions) == ["pca_00", "pca_01", "pca_02"]
    assert torch.allclose(directions["pca_01"].vector, (components[1] * 2).expand(14, -1))
    assert directions["pca_02"].label == "Pca 3"


class TestRefused:
    def check(self, tmp_path, *files):
        return refused("directions", *files, output=tmp_path / "out.safetensors")

    def test_objects_of_numpy(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (tmp_path / "ran").touch, ()

        np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
        assert "Python objects" in self.check(tmp_path, tmp_path / "a.npy")

    def test_malicious(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

        torch.save({"comp": Evil()}, tmp_path / "a.pt")
        assert "refused" in self.check(tmp_path, tmp_path / "a.pt")

    def test_truncated(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((1, 512)))
        content = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(content[:1000])
        assert "a.npy" in self.check(tmp_path, tmp_path / "a.npy")
        np.savez(tmp_path / "b.npz", lat_comp=np.zeros((1, 512)))
        (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:1000])
        assert "b.npz" in self.check(tmp_path, tmp_path / "b.npz")

    def test_missing(self, tmp_path):
        assert "missing" in self.check(tmp_path, tmp_path / "a.npy")
        assert "missing" in self.check(tmp_path, tmp_path / "a.pt")

    @pytest.mark.parametrize(
        "content",
        [torch.zeros(14, 512), torch.zeros(3), torch.zeros(2, 2, 512), torch.full((1, 512), torch.nan), "text", [1.0]],
    )
    def test_no_direction(self, tmp_path, content):
        torch.save(content, tmp_path / "a.pt")
        assert "a.pt" in self.check(tmp_path, tmp_path / "a.pt")

    def test_components(self, tmp_path):
        good = {"comp": torch.zeros(2, 512), "mean": torch.zeros(512), "std": torch.zeros(2)}
        for wrong, named in (
            ({**good, "std": torch.zeros(3)}, "3 standard deviations"),
            ({**good, "more": torch.zeros(3)}, "more"),
            ({"comp": good["comp"], "mean": good["mean"]}, "lat_stdev"),
        ):
            torch.save(wrong, tmp_path / "a.pt")
            assert named in self.check(tmp_path, tmp_path / "a.pt")

    def test_names(self, age, tmp_path):
        file = tmp_path / "age.pt"
        assert "simple word" in self.check(tmp_path, f"a b={file}")
        assert "Two directions" in self.check(tmp_path, file, file)

    def test_widths(self, age, tmp_path):
        torch.save(torch.zeros(1, 256), tmp_path / "narrow.pt")
        assert "256 and 512" in self.check(tmp_path, tmp_path / "age.pt", tmp_path / "narrow.pt")

    def test_there_already(self, age, tmp_path):
        (tmp_path / "out.safetensors").write_bytes(b"mine")
        assert "--overwrite" in self.check(tmp_path, tmp_path / "age.pt")
