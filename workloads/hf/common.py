"""What all configuration forms share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt

from dse.files import FileForm
from workloads.config import GqaConfig, LayerKind, Window, WindowForm
from workloads.schema import MAX_LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence


class ConfigFile(FileForm):
    """Keys of a `config.json` that fix the graph; all others are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class RopeParameters(ConfigFile):
    """Rotary embedding as newer files give it."""

    partial_rotary_factor: float | None = Field(default=None, ge=0, le=1)
    """Share of a head that is rotated."""


class DecoderFile(ConfigFile):
    """Keys that most decoders have under the same names."""

    model_type: str
    """Architecture."""
    hidden_size: PositiveInt
    """Model width."""
    num_hidden_layers: PositiveInt = Field(le=MAX_LAYERS)
    """Decoder layers."""
    vocab_size: PositiveInt
    """Entries of the vocabulary."""
    tie_word_embeddings: bool = False
    """The output head uses the embedding's matrix."""
    rms_norm_eps: PositiveFloat = 1e-6
    """Epsilon of the normalisations."""
    num_attention_heads: PositiveInt
    """Attention heads."""
    num_key_value_heads: PositiveInt | None = None
    """Heads of keys and values; as many as attention heads where left out."""
    head_dim: PositiveInt | None = None
    """Width of a head; the model width over the heads where left out."""
    partial_rotary_factor: float | None = Field(default=None, ge=0, le=1)
    """Share of a head that is rotated."""
    rope_parameters: RopeParameters | None = None
    """Angles, as newer files give them; only the share of a head that is rotated matters here."""
    layer_types: tuple[Literal["full_attention", "sliding_attention", "chunked_attention"], ...] | None = None
    """Attention of every layer."""

    def attention(self, *, rotary_share: float = 1.0, **more: object) -> GqaConfig:
        """The full attention; `more` are fields of `GqaConfig`.

        Raises:
            ValueError: heads that do not divide.
        """
        groups = self.num_attention_heads if self.num_key_value_heads is None else self.num_key_value_heads
        width = self.head_dim
        if width is None:
            if self.hidden_size % self.num_attention_heads:
                raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}")
            width = self.hidden_size // self.num_attention_heads
        if self.num_attention_heads % groups:
            raise ValueError(f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads {groups}")
        newer = None if self.rope_parameters is None else self.rope_parameters.partial_rotary_factor
        share = next((s for s in (self.partial_rotary_factor, newer) if s is not None), rotary_share)
        return GqaConfig(
            d_model=self.hidden_size,
            heads=self.num_attention_heads,
            kv_heads=groups,
            head_width=width,
            rotary=int(width * share) // 2 * 2,
            interleaved=False,
            rms_eps=self.rms_norm_eps,
            **more,  # type: ignore[arg-type]
        )

    def local_layers(self, otherwise: Sequence[bool]) -> tuple[bool, ...]:
        """Which layers are local: as `layer_types` says, else `otherwise`.

        Raises:
            ValueError: another number of layer types than layers.
        """
        if self.layer_types is None:
            return tuple(otherwise)
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"layer_types has {len(self.layer_types)} entries, num_hidden_layers is {self.num_hidden_layers}")
        return tuple(kind != "full_attention" for kind in self.layer_types)


def windowed(attention: GqaConfig, size: int | None, form: WindowForm = WindowForm.SLIDING) -> GqaConfig | None:
    """The local form of an attention; None where there is no window."""
    from dataclasses import replace

    return None if size is None else replace(attention, window=Window(size, form))


def pattern(local: Sequence[bool], moe: Sequence[bool]) -> tuple[LayerKind, ...]:
    """Kinds of all layers."""
    return tuple(LayerKind(local=near, moe=sparse) for near, sparse in zip(local, moe, strict=True))
