"""One request through one layer of a chip: its prompt in chunks, then its tokens one by one beside those of other requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.evaluate import Objective
from dse.ir.lowering import Masked, Part
from experiments import mla

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dse.hw.read import AcceleratorDescription

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """Lengths of a request and how it is served."""

    prompt: int = 4096
    output: int = 1024
    chunk: int = 512
    """Tokens of the prompt per step; the whole prompt in one step where it is as long."""
    batch: int = 16
    """Sequences that decode together."""
    samples: int = 2
    """Steps of each phase that are evaluated; the others are interpolated in between (costs are piecewise linear in length)."""


@dataclass(frozen=True)
class Step:
    """A step that stands for `weight` like it, per request."""

    phase: str
    weight: float
    cache_len: int
    batch: int
    queries: int


def steps(request: Request) -> list[Step]:
    """Evaluated steps of a request; weights add up to its chunks and, divided by the batch, its tokens."""
    r = request
    chunks = [r.chunk * (i + 1) for i in range(r.prompt // r.chunk)]
    decode = [r.prompt + 1, r.prompt + r.output]
    return [
        *(Step("prefill", w, n, 1, r.chunk) for n, w in _sampled(chunks[0], chunks[-1], len(chunks), r.samples)),
        *(Step("decode", w / r.batch, n, r.batch, 1) for n, w in _sampled(decode[0], decode[1], r.output, r.samples)),
    ]


def _sampled(first: int, last: int, number: int, samples: int) -> list[tuple[int, float]]:
    """(length, weight): ends and points between, with the weights of the trapezoidal rule; the middle where one is asked for."""
    if samples == 1 or number == 1 or first == last:
        return [((first + last) // 2, float(number))]
    shares = np.linspace(0, 1, samples)
    weights = np.full(samples, 1 / (samples - 1))
    weights[[0, -1]] /= 2
    return [(int(first + (last - first) * s), number * float(w)) for s, w in zip(shares, weights, strict=True)]


@dataclass(frozen=True)
class Costs:
    """Seconds and joules per request of one layer; arrays [S, T, D]: schemes, steps, designs."""

    schemes: tuple[str, ...]
    steps: tuple[Step, ...]
    seconds: FloatArray
    joules: FloatArray

    def total(self, what: FloatArray, scheme: int) -> FloatArray:
        """Of a request with one scheme throughout, [D]."""
        return what[scheme].sum(axis=0)

    def phase(self, what: FloatArray, name: str) -> FloatArray:
        """[S, D] of the steps of one phase."""
        return what[:, [i for i, s in enumerate(self.steps) if s.phase == name]].sum(axis=1)

    def fixed(self, what: FloatArray) -> FloatArray:
        """The best single scheme of each design, [D]."""
        return what.sum(axis=1).min(axis=0)

    def per_phase(self, what: FloatArray) -> FloatArray:
        """The best scheme of each phase, [D]."""
        return self.phase(what, "prefill").min(axis=0) + self.phase(what, "decode").min(axis=0)

    def per_step(self, what: FloatArray) -> FloatArray:
        """The best scheme at every length, [D]."""
        return what.min(axis=0).sum(axis=0)


def request_costs(
    request: Request,
    chip: AcceleratorDescription,
    schemes: Sequence[str],
    columns: Mapping[str, ArrayLike] | None = None,
    *,
    model: str = "deepseek_v3",
    part: Part = Part.ATTENTION,
    objective: Objective = Objective.LATENCY,
) -> Costs:
    """Every scheme in every step of a request on a chip, priced over columns of prices."""
    chosen = steps(request)
    seconds, joules = [], []
    for scheme in schemes:
        layers = [mla.Layer(scheme, s.cache_len, s.batch, s.queries, model, rope=True, masked=Masked.SKIPPED, part=part) for s in chosen]
        priced = [mla.modelled(layer, chip, columns, objective=objective) for layer in layers]
        seconds.append([s.weight * p.latency_s for s, p in zip(chosen, priced, strict=True)])
        joules.append([s.weight * p.energy_j for s, p in zip(chosen, priced, strict=True)])
    return Costs(tuple(schemes), tuple(chosen), np.array(seconds), np.array(joules))
