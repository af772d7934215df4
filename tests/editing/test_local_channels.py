"""Local channels by overlap of feature maps with masks: planted maps, thresholds, files."""

import pytest
import torch

from vivface.editing.local_channels import LocalChannels, choose_channels, layer_overlaps, overlap
from vivface.errors import CheckpointError, OptionError
from vivface.models.stylegan3 import StyleGAN3Generator


@pytest.fixture
def masks() -> torch.Tensor:
    """Eyes, nose and mouth of two faces: (2, 3, 32, 32)."""
    masks = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    for face, shift in enumerate((0, 2)):
        masks[face, 0, 8 + shift : 12 + shift, 6:26] = True
        masks[face, 1, 13 + shift : 19 + shift, 13:19] = True
        masks[face, 2, 21 + shift : 26 + shift, 10:22] = True
    return masks


class TestOverlap:
    def test_planted_maps(self, masks):
        """A map that is a part's mask, in any range, is that part's and no other's; a flat one and noise are none's."""
        random = torch.Generator().manual_seed(0)
        planted = [5 + 3 * masks[:, 0].float(), masks[:, 2].float() - 7, torch.ones(2, 32, 32), masks[:, 1].float()]
        planted += [torch.rand(2, 32, 32, generator=random), 1 - masks[:, 0].float()]
        inside, outside = overlap(torch.stack(planted, dim=1), masks)
        assert inside[0, 0] == inside[2, 1] == inside[1, 3] == 1
        assert outside[0, 0] == outside[2, 1] == outside[1, 3] == 0
        assert outside[0, 5] == 1 and inside[0, 5] == 0
        chosen = choose_channels([inside], [outside])
        assert {part: channels.tolist() for part, channels in chosen.parts.items()} == {
            "eyes": [[0, 0]],
            "nose": [[0, 3]],
            "mouth": [[0, 1]],
        }

    def test_small_maps_are_enlarged(self, masks):
        small = torch.nn.functional.avg_pool2d(masks[:, :1].float(), 4)
        inside, outside = overlap(small, masks)
        assert inside[0, 0] > 0.5 and inside[0, 0] == inside[:, 0].max()

    def test_the_second_inequality_keeps_what_reaches_beyond_the_part_out(self):
        inside, outside = torch.tensor([[0.6, 0.6], [0.0, 0.0]]), torch.tensor([[0.05, 0.2], [0.9, 0.9]])
        chosen = choose_channels([inside], [outside], ("eyes", "mouth"))
        assert chosen.parts["eyes"].tolist() == [[0, 0]] and chosen.parts["mouth"].numel() == 0

    def test_a_channel_serves_the_part_it_fits_best(self):
        inside, outside = torch.tensor([[0.3], [0.5]]), torch.zeros(2, 1)
        assert choose_channels([inside], [outside], ("eyes", "mouth")).parts["mouth"].tolist() == [[0, 0]]


class TestLayers:
    def test_maps_are_those_that_enter_the_layers(self):
        """A map planted before the last layer is found at its style, without the margin of the maps."""
        generator = StyleGAN3Generator(size=32, style_dim=8, channels=[4] * 14).eval()
        codes = generator.sample_latents(2)
        seen = {}
        hook = generator.layers[10].register_forward_pre_hook(lambda _, inputs: seen.update(feature=inputs[0]))
        with torch.no_grad():
            generator(codes)
        hook.remove()
        margin = (seen["feature"].shape[-1] - 32) // 2
        image = seen["feature"][:, 2, margin:-margin, margin:-margin]
        on = (image - image.amin((1, 2), True)) / (image.amax((1, 2), True) - image.amin((1, 2), True)) > 0.5
        inside, outside = layer_overlaps(generator, generator.to_stylespace(codes), on[:, None])
        assert [each.shape for each in inside] == [(1, 0), *[(1, 4)] * 15]
        assert inside[11][0, 2] == 1 and outside[11][0, 2] == 0


class TestFiles:
    def test_saved_and_loaded(self, tmp_path):
        channels = LocalChannels({"eyes": torch.tensor([[3, 1], [4, 0]], dtype=torch.int32)})
        loaded = LocalChannels.load(channels.save(tmp_path / "channels.safetensors"))
        assert loaded.parts["eyes"].tolist() == [[3, 1], [4, 0]]

    def test_masks(self):
        channels = LocalChannels({"eyes": torch.tensor([[1, 1]]), "mouth": torch.tensor([[0, 2], [1, 0]])})
        assert [mask.tolist() for mask in channels.masks([3, 2])] == [[False, False, True], [True, True]]
        assert [mask.tolist() for mask in channels.masks([3, 2], ["eyes"])] == [[False] * 3, [False, True]]
        with pytest.raises(OptionError, match="channel 2 of style 0"):
            channels.masks([2, 2])
        with pytest.raises(OptionError, match="no part 'ears'"):
            channels.masks([3, 2], ["ears"])

    def test_other_files_are_refused(self, tmp_path):
        path = tmp_path / "channels.safetensors"
        path.write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="cannot be read"):
            LocalChannels.load(path)
        from safetensors.torch import save_file

        save_file({"eyes": torch.zeros(1, 2)}, path)
        with pytest.raises(
            CheckpointError, match="cannot be read as local channels .it holds something else.: copy the file again"
        ):
            LocalChannels.load(path)
