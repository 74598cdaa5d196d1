"""Logits of our lowered models equal those of the `transformers` package, in prefill, chunked prefill and decode.

Each architecture: a small configuration, written as config.json and read by our reader; random weights copied into our ONNX
graphs; the same tokens through both with caches of their own. Tolerance: 2e-4 of the largest logit, in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch and transformers: make test-transformers")
transformers = pytest.importorskip("transformers", reason="needs torch and transformers: make test-transformers")

from workloads.catalogue import CATALOGUE  # noqa: E402

from . import architectures, weights  # noqa: E402
from .lowered import Lowered  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]
TOLERANCE = 2e-4
STEPS = (6, 3, 1, 1)
"""New tokens per step: a prompt, a chunk on top of it (or several speculated tokens), two single ones."""
SCHEMES = [(name, "") for name in architectures.CASES] + [
    ("deepseek_v3", scheme) for scheme in ("naive", "reuse", "recompute", "reuse_both", "recompute_both")
]


def lowered(model: torch.nn.Module, path: Path, scheme: str, batch: int) -> Lowered:
    """Our model of the configuration and the weights of theirs."""
    config = path / "config.json"
    config.write_text(model.config.to_json_string(use_diff=False))
    ours = CATALOGUE.from_file(str(config))
    rotary = getattr(model.model, "rotary_emb", None) if hasattr(model, "model") else None

    def tables(index: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if rotary is None:
            return np.ones((*positions.shape, 1), np.float32), np.zeros((*positions.shape, 1), np.float32)
        kind = f"{model.config.layer_types[index]}_" if hasattr(rotary, "full_attention_inv_freq") else ""
        frequencies = getattr(rotary, f"{kind}inv_freq").numpy()
        scaling = getattr(rotary, f"{kind}attention_scaling")
        angles = positions[..., None] * frequencies
        return (np.cos(angles) * scaling).astype(np.float32), (np.sin(angles) * scaling).astype(np.float32)

    def temperature(positions: np.ndarray) -> np.ndarray:
        c = model.config
        if not getattr(c, "attn_temperature_tuning", False):
            return np.ones((len(positions), 1), np.float32)
        return (np.log1p(np.floor((positions + 1.0) / c.floor_scale)) * c.attn_scale + 1.0).astype(np.float32)[:, None]

    return Lowered(
        model=ours,
        state=weights.renamed({name: value.numpy() for name, value in model.state_dict().items()}),
        tables=tables,
        temperature=temperature,
        plus_one=type(model).__name__.startswith("Gemma"),
        scheme=scheme or ours.attention_schemes[0],
        batch=batch,
    )


@pytest.mark.parametrize(("name", "scheme"), SCHEMES, ids=lambda v: v)
def test_logits(name: str, scheme: str, tmp_path: Path):
    batch = 2
    model = architectures.make(name)
    ours = lowered(model, tmp_path, scheme, batch)
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, size=(batch, sum(STEPS)))
    cache = transformers.DynamicCache(config=model.config)
    start = 0
    for s in STEPS:
        new = ids[:, start : start + s]
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor(new), past_key_values=cache, use_cache=True).logits.numpy()
        got = ours.step(new)
        expected = theirs[:, -got.shape[1] :]
        error = np.abs(got - expected).max() / np.abs(expected).max()
        assert error < TOLERANCE, f"step of {s} tokens behind {start}: relative error {error:.2e}"
        start += s


@pytest.mark.parametrize("name", architectures.CASES)
def test_parameters(name: str, tmp_path: Path):
    """All weights of their model, tied ones once, are all that ours counts."""
    model = architectures.make(name)
    ours = lowered(model, tmp_path, "", 1)
    ours.step(np.zeros((1, 1), dtype=np.int64))
    counted = sum(p.numel() for p in model.parameters())
    counted += sum(b.numel() for n, b in model.named_buffers() if n.endswith("e_score_correction_bias"))
    assert ours.parameters == counted
