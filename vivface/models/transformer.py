"""Deformation transformer T: generic motion codes become motion codes of one person.

ViVFace, sec. "Stage-I Model", eq. 2: S_{Id->Is} = T(S_Id, I_s). A decoder whose targets are the ten motion codes of the
driving frame and whose memory is the source's feature map. Post-norm, ReLU, no positional code, no mask.
"""

import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vivface.models.precision import PrecisionMixin

OUTPUT_INIT_GAIN = 0.25  # the last norm's weight at the start: small motions of the styles, which are about 1


class StackedProjection(nn.Linear):
    """Queries, keys and values in one matrix, as `torch.nn.MultiheadAttention` stores them.

    Args:
        dim (`int`): Entries of a token.
    """

    def __init__(self, dim: int):
        super().__init__(dim, 3 * dim)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project.

        Args:
            x (`torch.Tensor` of shape `(batch, tokens, dim)`): What queries are made of.
            context (`torch.Tensor` of shape `(batch or 1, context tokens, dim)`): What keys and values are made of.

        Returns:
            Queries of the shape of `x`; keys and values of the shape of `context`.
        """
        dim = self.in_features
        query = F.linear(x, self.weight[:dim], self.bias[:dim])
        key, value = F.linear(context, self.weight[dim:], self.bias[dim:]).chunk(2, dim=2)
        return query, key, value


class Attention(nn.Module):
    """Multi-head attention. A context of batch one is projected once for all queries.

    Args:
        dim (`int`): Entries of a token.
        heads (`int`): Attention heads; divides `dim`.
        dropout (`float`): Of attention weights, in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.in_proj = StackedProjection(dim)
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)
        self.heads = heads
        self.dropout = dropout

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend from `x` to `context`.

        Args:
            x (`torch.Tensor` of shape `(batch, tokens, dim)`): Queries.
            context (`torch.Tensor` of shape `(batch or 1, context tokens, dim)`): What they attend to.

        Returns:
            `torch.Tensor` of shape `(batch, tokens, dim)`.
        """
        query, key, value = self.in_proj(x, context)
        key, value = key.expand(x.shape[0], -1, -1), value.expand(x.shape[0], -1, -1)
        query, key, value = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout
        )  # (batch, heads, tokens, dim/heads)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each added and then normalised.

    Args:
        dim (`int`): Entries of a token.
        heads (`int`): Attention heads; divides `dim`.
        feed_forward (`int`): Hidden width of the feed-forward layers.
        dropout (`float`): In training.
    """

    def __init__(self, dim: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.self_attention = Attention(dim, heads, dropout)
        self.cross_attention = Attention(dim, heads, dropout)
        self.linear1 = nn.Linear(dim, feed_forward)
        self.linear2 = nn.Linear(feed_forward, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Run the layer.

        Args:
            x (`torch.Tensor` of shape `(batch, tokens, dim)`): Targets.
            memory (`torch.Tensor` of shape `(batch or 1, memory tokens, dim)`): What the targets attend to.

        Returns:
            `torch.Tensor` of shape `(batch, tokens, dim)`.
        """
        x = self.norm1(x + self.dropout(self.self_attention(x, x)))
        x = self.norm2(x + self.dropout(self.cross_attention(x, memory)))
        hidden = self.dropout(F.relu(self.linear1(x)))  # (batch, tokens, feed_forward)
        return self.norm3(x + self.dropout(self.linear2(hidden)))


class DeformationTransformer(PrecisionMixin, ModelMixin, ConfigMixin):
    """Adapt generic motion codes to the person whose memory is given (ViVFace, eq. 2).

    Args:
        style_dim (`int`, *optional*, defaults to 512): Entries of a code and of a memory token.
        layers (`int`, *optional*, defaults to 4): Decoder layers.
        heads (`int`, *optional*, defaults to 8): Attention heads; divides `style_dim`.
        feed_forward (`int`, *optional*, defaults to 2048): Hidden width of the feed-forward layers.
        dropout (`float`, *optional*, defaults to 0.1): In training.

    Raises:
        ValueError: If `heads` does not divide `style_dim`.
    """

    @register_to_config
    def __init__(
        self,
        style_dim: int = 512,
        layers: int = 4,
        heads: int = 8,
        feed_forward: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        if style_dim % heads:
            raise ValueError(f"`heads` is {heads}; expected a divisor of style_dim {style_dim}.")
        self.blocks = nn.ModuleList(DecoderLayer(style_dim, heads, feed_forward, dropout) for _ in range(layers))
        nn.init.constant_(self.blocks[-1].norm3.weight, OUTPUT_INIT_GAIN)

    def forward(self, motion: Tensor, memory: Tensor) -> Tensor:
        """S' = T(S, memory) (ViVFace, eq. 2).

        Args:
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Generic codes of driving frames.
            memory (`torch.Tensor` of shape `(batch or 1, tokens, style_dim)`): The source's memory; one serves all.

        Returns:
            `torch.Tensor` of shape `(batch, motion_codes, style_dim)`: Offsets to the source's styles.

        Raises:
            ValueError: If the batches do not fit together.
        """
        if memory.shape[0] != 1 and memory.shape[0] != motion.shape[0]:
            raise ValueError(f"`memory` has a batch of {len(memory)}; expected 1 or {len(motion)}, as `motion` has.")
        x = motion
        for layer in self.blocks:
            x = layer(x, memory)  # (batch, motion_codes, style_dim)
        return x
