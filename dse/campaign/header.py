"""The header of a result log: all that is needed to read the log without the models and accelerators it came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dse.search.goals import Constraint, Goals
from dse.search.space import Dimension, Scale, Space, with_values
from dse.search.strategy import SamplerName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.campaign.plan import Plan


@dataclass(frozen=True, slots=True)
class Header:
    """Space, goals and sampler of a run."""

    campaign: str
    question: str
    config_hash: str
    """Of the resolved configuration without its budget."""
    sampler: SamplerName
    seed: int
    workload: str
    """The step in one line, without what the space varies."""
    accelerators: tuple[str, ...]
    space: Space
    goals: Goals
    reference: tuple[float, ...] | None
    """Reference point as given in the campaign, in the order of the objectives."""

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        values: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Header:  # Any: JSON
        """The header that `to_json` wrote."""
        space, goals = values["space"], values["goals"]
        return cls(
            campaign=values["campaign"],
            question=values["question"],
            config_hash=values["config_hash"],
            sampler=SamplerName(values["sampler"]),
            seed=values["seed"],
            workload=values["workload"],
            accelerators=tuple(values["accelerators"]),
            space=Space(tuple(map(_dimension, space["outer"])), tuple(map(_dimension, space["inner"]))),
            goals=Goals(tuple(goals["objectives"]), tuple(Constraint(**c) for c in goals["constraints"])),
            reference=None if values["reference"] is None else tuple(values["reference"]),
        )


def header_of(plan: Plan) -> Header:
    """The header of a new run of `plan`."""
    given = plan.form.reference_point
    swept = {path.removeprefix("workload.") for path in plan.space.paths if path.startswith("workload.")}
    workload = plan.form.workload.model_dump(mode="json", exclude_none=True, exclude=swept)
    return Header(
        campaign=plan.form.name,
        question=plan.form.question,
        config_hash=digest(identity_config(plan)),
        sampler=plan.sampler,
        seed=plan.form.seed,
        workload=with_values(workload),
        accelerators=plan.accelerators,
        space=plan.space,
        goals=plan.goals,
        reference=None if given is None else tuple(given[name] for name in plan.goals.objectives),
    )


def identity_config(plan: Plan) -> dict[str, object]:
    """What makes two campaigns the same run: the resolved configuration without its budget, which may grow."""
    return {key: value for key, value in plan.resolved().items() if key != "budget"}


def digest(value: object) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _dimension(value: Mapping[str, Any]) -> Dimension:
    return Dimension(value["path"], tuple(value["values"]), Scale(value["scale"]))
