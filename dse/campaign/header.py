"""The header of a result log: all that is needed to read the log without the models and accelerators it came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dse.search.expression import parse
from dse.search.goals import Constraint, Goals
from dse.search.limits import Limits, OuterChoices
from dse.search.quantities import Scenario
from dse.search.space import Dimension, Scale, Space, with_values
from dse.search.strategy import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.campaign.plan import Plan


@dataclass(frozen=True, slots=True)
class Header:
    """Space, limits, goals, sampler and seeds of a run."""

    campaign: str
    question: str
    config_hash: str
    """Of the resolved configuration without its budget."""
    sampler: Sampler
    """Never `auto`: what it stood for when the run began."""
    seed: int
    seeds: tuple[int, ...]
    """Outer choices that are evaluated first."""
    workload: str
    """The step in one line, without what the space varies."""
    accelerators: tuple[str, ...]
    space: Space
    limits: Limits
    goals: Goals
    reference: tuple[float, ...] | None
    """Reference point as given in the campaign, in the order of the objectives."""
    shard: tuple[int, int] | None = None
    """(index from 0, count) of a run that searches only its share of the space."""

    @property
    def choices(self) -> OuterChoices:
        """Outer choices that the limits leave."""
        return OuterChoices(self.space, self.limits, self.shard)

    @property
    def strategy_seed(self) -> int:
        """Of the campaign and the shard: shards that start alike would search alike."""
        if self.shard is None:
            return self.seed
        text = f"{self.seed}:{self.shard[0]}/{self.shard[1]}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        plain = asdict(replace(self, limits=Limits()))
        plain["limits"] = {
            "expressions": [e.text for e in self.limits.expressions],
            "constants": {name: dict(values) for name, values in self.limits.constants.items()},
            "only_accelerator": self.limits.only_accelerator,
        }
        values: dict[str, object] = json.loads(json.dumps(plain))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Header:  # Any: JSON
        """The header that `to_json` wrote."""
        space, goals, limits = values["space"], values["goals"], values["limits"]
        return cls(
            campaign=values["campaign"],
            question=values["question"],
            config_hash=values["config_hash"],
            sampler=Sampler(**values["sampler"]),
            seed=values["seed"],
            seeds=tuple(values["seeds"]),
            workload=values["workload"],
            accelerators=tuple(values["accelerators"]),
            space=Space(tuple(map(_dimension, space["outer"])), tuple(map(_dimension, space["inner"]))),
            limits=Limits(tuple(map(parse, limits["expressions"])), limits["constants"], limits["only_accelerator"]),
            goals=Goals(
                tuple(goals["objectives"]),
                tuple(Constraint(**c) for c in goals["constraints"]),
                tuple(Scenario(**s) for s in goals["scenarios"]),
                goals["report"],
            ),
            reference=None if values["reference"] is None else tuple(values["reference"]),
            shard=None if values["shard"] is None else (values["shard"][0], values["shard"][1]),
        )


def shard_name(shard: tuple[int, int]) -> str:
    """`shard-2-of-8`, counted from 1 as on the command line."""
    return f"shard-{shard[0] + 1}-of-{shard[1]}"


def header_of(plan: Plan, sampler: Sampler | None = None, seeds: tuple[int, ...] = ()) -> Header:
    """The header of a new run of `plan`; `sampler` is what its `auto` stands for."""
    return Header(
        campaign=plan.form.name,
        question=plan.form.question,
        config_hash=digest(identity_config(plan)),
        sampler=sampler or plan.sampler,
        seed=plan.form.seed,
        seeds=seeds,
        workload=_workloads(plan),
        accelerators=plan.accelerators,
        space=plan.space,
        limits=plan.limits,
        goals=plan.goals,
        reference=plan.reference,
        shard=plan.shard,
    )


_UNSAID: Final = (("routing", "uniform"), ("masked", "skipped"))
"""Defaults that the line about a workload leaves out."""


def _workloads(plan: Plan) -> str:
    swept = {path.removeprefix("workload.") for path in plan.space.paths if path.startswith("workload.")}
    lines = []
    for name, step in plan.form.steps.items():
        fields = step.model_dump(mode="json", exclude_none=True, exclude={*swept, "over", "weight", *step.over})
        shown = with_values({key: value for key, value in fields.items() if (key, value) not in _UNSAID})
        over = "".join(f", {field} over {', '.join(map(str, values))}" for field, values in step.over.items())
        weight = f" (weight {step.weight:g})" if len(plan.form.steps) > 1 else ""
        lines.append(f"{name}{weight}: {shown}{over}" if name else shown + over)
    return "; ".join(lines)


def identity_config(plan: Plan) -> dict[str, object]:
    """What makes two campaigns the same run: the resolved configuration without its budget, which may grow."""
    return {key: value for key, value in plan.resolved().items() if key != "budget"}


def digest(value: object) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _dimension(value: Mapping[str, Any]) -> Dimension:
    return Dimension(value["path"], tuple(value["values"]), Scale(value["scale"]))
