"""A whole model as we lower it, executed layer by layer with caches: token ids in, logits out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.ir.expert_load import LoadKind, Routing
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.config import MlaConfig, WindowForm
from workloads.layers.moe import load_groups

from . import weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

    from workloads.config import GqaConfig
    from workloads.model import DecoderModel

    Array = NDArray[np.float32]
    Feeds = dict[str, NDArray[np.float32] | NDArray[np.int64]]

CACHES = ("latent_cache", "index_cache", "key_cache", "value_cache")


@dataclass
class Lowered:
    """A model with weights and caches of `batch` sequences."""

    model: DecoderModel
    state: Mapping[str, Array]
    tables: Callable[[int, NDArray[np.int64]], tuple[Array, Array]]
    """Cosine and sine of a layer at positions [B, S], each [B, S, width / 2]."""
    temperature: Callable[[NDArray[np.int64]], Array]
    """Factor on the queries at positions [S], [S, 1]."""
    plus_one: bool
    scheme: str
    batch: int
    seen: int = 0
    parameters: int = 0
    caches: dict[tuple[int, str], Array] = field(default_factory=dict)
    chosen: list[NDArray[np.int64]] = field(default_factory=list)
    """Experts that the routers chose, for every layer and step."""

    def step(self, ids: NDArray[np.int64]) -> Array:
        """Logits [B, S, vocabulary] of the next tokens [B, S]; in a first step of several tokens of the last one, [B, 1, vocabulary]."""
        s = ids.shape[1]
        phase = Phase.PREFILL if self.seen == 0 and s > 1 else Phase.DECODE
        request = LoweringRequest(
            phase=phase,
            batch=self.batch,
            query_len=s,
            cache_len=self.seen + s,
            attention=self.scheme,
            precision=precision("fp32"),
            rope=True,
            norms=True,
            part=Part.LAYER,
            layer=None,
        )
        found = self.model.lower(request)
        self.parameters = found.parameters_total
        parts = {p.name: p.onnx for p in found.parts}
        positions = np.arange(self.seen, self.seen + s)
        ends = weights.outside(self.state, self.model.config, plus_one=self.plus_one)
        at = np.broadcast_to(positions, (self.batch, s)).astype(np.int64)
        x = onnx_outputs(parts["embedding"], {**ends, "token_ids": ids, "position_ids": at})["embedding_out"]
        for index in range(self.model.layers):
            x = self._layer(request, index, x, at)
        self.seen += s
        return onnx_outputs(parts["head"], {**ends, "hidden": x[:, -1:] if phase is Phase.PREFILL else x})["logits"]

    def _layer(self, request: LoweringRequest, index: int, x: Array, at: NDArray[np.int64]) -> Array:
        c = self.model.config
        kind = c.pattern[index]
        form = c.local if kind.local else c.attention
        assert form is not None
        given = weights.layer(self.state, index, c, plus_one=self.plus_one)
        cos, sin = self.tables(index, at)
        start = _first_position(form, request)
        keys = np.arange(start, request.cache_len)
        feeds: Feeds = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in given.items() if "." not in k}
        feeds |= {
            "x": x,
            "rope_cos": cos,
            "rope_sin": sin,
            "temperature": self.temperature(at[0]),
            "mask": np.where(_sees(form, at[0][:, None], keys[None, :]), 0, -np.inf).astype(np.float32),
            "write_indices": np.full(self.batch, self.seen - start, dtype=np.int64),
            "index_rows": (np.arange(self.batch, dtype=np.int64) * request.cache_len).reshape(-1, 1, 1),
        }
        onnx = self._lower(replace(request, layer=index))
        shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in onnx.graph.input}
        for name in CACHES:
            if name in shapes:
                axis = 2 if name in ("key_cache", "value_cache") else 1
                feeds[name] = self._past(index, name, shapes[name], axis, start)
        if not kind.moe:
            return self._kept(index, onnx_outputs(onnx, feeds), start)
        # The router's choice does not depend on how rows are dispatched, so a first run says what the second one lowers.
        blank = {name: np.zeros(shape, np.int64) for name, shape in shapes.items() if name.startswith(("dispatch", "combine"))}
        table = onnx_outputs(onnx, {**feeds, **_stacked(given, shapes, None), **blank})["routed_experts"].reshape(
            -1, c.moe.experts_per_token
        )
        self.chosen.append(table)
        loads = np.bincount(table.ravel(), minlength=c.moe.experts)
        onnx = self._lower(replace(request, layer=index, routing=Routing(LoadKind.LOADS, counts=tuple(float(n) for n in loads))))
        shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in onnx.graph.input}
        members, indices = dispatched(table, loads)
        return self._kept(index, onnx_outputs(onnx, {**feeds, **_stacked(given, shapes, members), **indices}), start)

    def _lower(self, request: LoweringRequest) -> ModelProto:
        (part,) = self.model.lower(request).parts
        return part.onnx

    def _past(self, index: int, name: str, shape: tuple[int, ...], axis: int, start: int) -> Array:
        """The cache from position `start` on, with room for the new positions, which hold numbers that nobody may read."""
        past = np.full(shape, 7.0, dtype=np.float32)
        if self.seen > start:
            old = self.caches[index, name]
            kept = np.take(old, range(start, self.seen), axis=axis)
            np.moveaxis(past, axis, 0)[: self.seen - start] = np.moveaxis(kept, axis, 0)
        return past

    def _kept(self, index: int, outputs: Mapping[str, Array], start: int) -> Array:
        """Store what was appended; positions before `start`, which a window has left, stay as they were."""
        for name in CACHES:
            if f"{name}_after" in outputs:
                axis = 2 if name in ("key_cache", "value_cache") else 1
                new = outputs[f"{name}_after"]
                old = self.caches.get((index, name))
                before = np.take(old if old is not None else new, range(start), axis=axis)
                self.caches[index, name] = np.concatenate([before, new], axis=axis)
        return outputs["ffn_residual"]


def _first_position(form: MlaConfig | GqaConfig, request: LoweringRequest) -> int:
    """First position that the step keeps in its cache."""
    if isinstance(form, MlaConfig) or form.window is None:
        return 0
    return request.cache_len - form.window.length(request.query_len, request.cache_len)


def _sees(form: MlaConfig | GqaConfig, query: NDArray[np.int64], key: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the query at a position sees a key at another."""
    causal = key <= query
    if isinstance(form, MlaConfig) or form.window is None:
        return causal
    if form.window.form is WindowForm.SLIDING:
        return causal & (key > query - form.window.size)
    return causal & (key // form.window.size == query // form.window.size)


def dispatched(table: NDArray[np.int64], loads: NDArray[np.int64]) -> tuple[dict[str, list[int]], Feeds]:
    """Experts of each group by its label, and the permutations: tokens of each expert's rows, row of each token's choice."""
    groups = load_groups(tuple(int(n) for n in loads if n))
    assert len({n for _, n in groups}) == len(set(loads[loads > 0].tolist())), "loads were merged; use fewer tokens"
    labels = ("light", "heavy") if len(groups) <= 2 else tuple(f"load{i}" for i in range(len(groups)))
    members, indices, rows = {}, {}, {}
    for label, (count, each) in zip(labels, groups, strict=False):
        members[label] = [e for e in range(len(loads)) if loads[e] == each]
        assert len(members[label]) == count
        tokens = [[t for t in range(len(table)) if e in table[t]] for e in members[label]]
        indices[f"dispatch_{label}"] = np.array(tokens, dtype=np.int64)
        for e, each_tokens in zip(members[label], tokens, strict=True):
            for t in each_tokens:
                rows[t, e] = len(rows)
    indices["combine"] = np.array([[rows[t, int(e)] for e in table[t]] for t in range(len(table))], dtype=np.int64)
    return members, indices


def _stacked(given: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], members: Mapping[str, list[int]] | None) -> Feeds:
    """Stacks of expert weights as the groups want them; any experts where `members` says nothing."""
    found: Feeds = {}
    for name, shape in shapes.items():
        for ours, theirs in (("expert_w_", "experts."), ("expert_b_", "bias.")):
            if name.startswith(ours):
                part, _, label = name.removeprefix(ours).partition("_")
                chosen = members[label] if members is not None else list(range(shape[0]))
                found[name] = np.ascontiguousarray(given[f"{theirs}{part}"][chosen])
    return found
