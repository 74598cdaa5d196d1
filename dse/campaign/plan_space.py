"""The space of a campaign: its dimensions checked against the accelerators and models that they vary, and put on their level."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import ValidationError

from dse.campaign.form import PARETO, WorkloadForm
from dse.campaign.plan_workloads import precision_problem, routing_problem, unknown_scheme
from dse.campaign.sources import ACCELERATOR, CHOICES, MAX_INNER, OBJECTIVE, WORKLOAD, inside
from dse.errors import DseError, InputError, Problem, did_you_mean
from dse.search.space import Dimension, Scale, Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.campaign.form import CampaignForm, ValuesForm
    from dse.campaign.sources import Field, Sources
    from dse.files import Document
    from dse.search.space import Value

MAX_TRIED: Final = 512
"""Combinations of other outer values with which a value is tried before it is refused."""
WORKLOAD_FIELDS: Final = tuple(name for name in WorkloadForm.model_fields if name not in ("weight", "over"))


class SpaceBuilder:
    """Turns the `space` of a form into dimensions and collects what is wrong with it."""

    def __init__(
        self,
        form: CampaignForm,
        document: Document,
        sources: Sources,
        accelerators: tuple[str, ...],
        fields: Mapping[str, Mapping[str, Field]],
    ) -> None:
        self._form = form
        self._document = document
        self._sources = sources
        self._accelerators = accelerators
        self._fields = fields
        self._problems: list[Problem] = []
        self.warnings: list[str] = []
        """Doubtful values, once `space` is made: file:line and what."""

    def space(self, schemes: Mapping[str, Sequence[str]]) -> Space:
        """The space; the accelerator comes first where it is a list. `schemes`: attention schemes by workload.

        Raises:
            InputError: all problems found.
        """
        outer: list[Dimension] = []
        inner: list[Dimension] = []
        if not isinstance(self._form.hardware, str):
            self._distinct_accelerators()
            outer.append(Dimension(ACCELERATOR, self._accelerators, Scale.CATEGORICAL))
        for path, values in self._form.space.items():
            if path == ACCELERATOR:
                self._distinct_accelerators()
                outer.append(Dimension(path, self._accelerators, Scale.CATEGORICAL))
            elif path.startswith(WORKLOAD):
                outer.append(self._workload(path, values, schemes))
            elif path in CHOICES:
                outer.append(self._words(path, values))
            else:
                self._accelerator(path, values, outer, inner)
        outer += self._objectives()
        if not self._problems and not outer and not inner:
            message = "'space' is empty: there is nothing to search; add a dimension (path: {values: [...]}), or use dse eval"
            self._problem("", message)
        if self._problems:
            raise InputError(self._problems)
        space = Space(tuple(outer), tuple(inner))
        most = min(MAX_INNER, *(self._sources.most_inner(name) for name in self._accelerators))
        if space.inner_size > most:
            message = f"the price-only dimensions have {space.inner_size:,} combinations for each outer choice; at most {most:,}"
            if most < MAX_INNER:
                message += " on a chip of many cores"
            self._problem("", f"{message}: thin them")
            raise InputError(self._problems)
        return space

    def _problem(self, path: str, message: str) -> None:
        self._problems.append(Problem(self._document.where(("space", path) if path else ("space",)), message))

    def _distinct_accelerators(self) -> None:
        for name in {name for name in self._accelerators if self._accelerators.count(name) > 1}:
            self._problems.append(Problem(self._document.where((ACCELERATOR,)), f"accelerator '{name}' is given twice; keep one"))

    def _objectives(self) -> Iterator[Dimension]:
        """Every objective of mappings where the campaign asks for all; the last dimension, so that neighbours share what is compiled."""
        if self._form.mapping.objective != PARETO:
            return
        if OBJECTIVE in self._form.space:
            self._problem(OBJECTIVE, f"'space.{OBJECTIVE}' and 'mapping: {{objective: {PARETO}}}' say the same; keep one")
        else:
            yield Dimension(OBJECTIVE, CHOICES[OBJECTIVE], Scale.CATEGORICAL)

    def _words(self, path: str, form: ValuesForm) -> Dimension:
        for value in form.values or (None,):
            if value not in CHOICES[path]:
                self._problem(path, f"'space.{path}' takes values: [...] out of {', '.join(CHOICES[path])}, not {value}")
        return Dimension(path, form.values or (None,), Scale.CATEGORICAL)

    def _workload(self, path: str, form: ValuesForm, schemes: Mapping[str, Sequence[str]]) -> Dimension:
        head, _, name = path.removeprefix(WORKLOAD).rpartition(".")
        steps = self._form.steps
        if name not in WORKLOAD_FIELDS or (head and head not in steps):
            self._unknown(path)
            return Dimension(path, (None,), Scale.CATEGORICAL)
        chosen = [head] if head else list(steps)
        spread = next((w for w in chosen if name in steps[w].over), None)
        if spread is not None:
            self._problem(path, f"'space.{path}': '{name}' is under 'over' of the workload as well; keep one")
        values = expand(form, integer=True)
        for workload in chosen:
            for value in values or ():
                self._check_workload(path, workload, name, value, schemes.get(workload, ()))
        if values is None:
            self._problem(path, f"'space.{path}' takes whole numbers; this range has others: choose another count")
        return Dimension(path, values or (None,), scale(form, values or ()))

    def _check_workload(self, path: str, workload: str, name: str, value: Value, schemes: Sequence[str]) -> None:
        of = f" ({workload})" if workload else ""
        if name == "attention" and value not in schemes:
            self._problem(path, unknown_scheme(value, schemes) + of)
        elif name == "precision" and precision_problem(value):
            self._problem(path, precision_problem(value))
        elif name == "routing" and routing_problem(value, str(Path(self._document.path).parent)):
            self._problem(path, routing_problem(value, str(Path(self._document.path).parent)))
        else:
            base = self._form.steps[workload].model_dump(mode="json")
            try:
                WorkloadForm.model_validate_json(json.dumps({**base, name: value}))
            except ValidationError as error:
                self._problem(path, f"'space.{path}': {value}: {error.errors()[0]['msg']}")

    def _accelerator(self, path: str, form: ValuesForm, outer: list[Dimension], inner: list[Dimension]) -> None:
        fields = [known.get(path) for known in self._fields.values()]
        if None in fields:
            self._unknown(path)
            return
        known = [field for field in fields if field is not None]
        values = expand(form, integer=any(field.integer for field in known))
        if values is None:
            self._problem(path, f"'space.{path}' takes whole numbers; this range has others: choose another count, or values: [...]")
            return
        for name in self._accelerators:
            for value in _telling(values, known):
                wrong = self._wrong(name, path, value)
                if isinstance(wrong, tuple):
                    where = self._document.where(("space", path))
                    self.warnings += [f"{where}: 'space.{path}': {value} on {name}: {doubt}" for doubt in wrong]
                    continue
                self._problem(path, f"'space.{path}': {value} does not fit {name}: {inside(wrong)}")
                return
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        target = inner if numbers and all(field.prices_only for field in known) else outer
        target.append(Dimension(path, values, scale(form, values)))

    def _wrong(self, accelerator: str, path: str, value: Value) -> DseError | tuple[str, ...]:
        """Why an accelerator cannot take a value; where it can, alone or with some values of other outer dimensions of its own, the doubts.

        Fields may depend on each other: the rows of a mesh on the number of cores. Limits leave out what does not go together.
        """
        first: DseError | None = None
        for others in self._others(path):
            try:
                return self._sources.check(accelerator, {**others, path: value})
            except DseError as error:
                first = first or error
        assert first is not None, "nothing else was tried"
        return first

    def _others(self, path: str) -> Iterator[dict[str, Value]]:
        """Nothing, then values of the other outer dimensions that are fields of the accelerator, in all combinations up to a number."""
        yield {}
        known = [own for own in self._fields.values() if path in own]
        if all(own[path].prices_only for own in known):
            return
        paths = [p for p in self._form.space if p != path and any(p in own and not own[p].prices_only for own in known)]
        whole = {p: any(own[p].integer for own in known if p in own) for p in paths}
        values = [expand(self._form.space[p], integer=whole[p]) or () for p in paths]
        for chosen in itertools.islice(itertools.product(*values), MAX_TRIED if paths else 0):
            yield dict(zip(paths, chosen, strict=True))

    def _unknown(self, path: str) -> None:
        everywhere = [set(known) for known in self._fields.values()]
        common = sorted(set.intersection(*everywhere)) if everywhere else []
        allowed = [ACCELERATOR, *CHOICES, *(WORKLOAD + name for name in WORKLOAD_FIELDS), *common]
        lacking = [name for name, known in self._fields.items() if path not in known]
        if len(lacking) < len(self._fields) and not path.startswith(WORKLOAD):
            self._problem(path, f"'space.{path}': {', '.join(lacking)} has no such field, others have; give them campaigns of their own")
            return
        self._problem(
            path,
            f"'space.{path}' is not known; allowed: accelerator, schedule, mapping.objective, workload.<field>,"
            f" or a field of the accelerator such as {common[0] if common else 'clock_mhz'}.{did_you_mean(path, allowed)}",
        )


def _telling(values: Sequence[Value], known: Sequence[Field]) -> list[Value]:
    """Values that must be checked for all to be: of prices, whose bounds are intervals, the ends and what may be no whole number."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or not all(field.prices_only for field in known):
        return list(values)
    ends = (min(numbers), max(numbers))
    fractions = any(field.integer for field in known)
    return [value for value in numbers if value in ends or (fractions and not isinstance(value, int))]


def expand(form: ValuesForm, *, integer: bool) -> tuple[Value, ...] | None:
    """The values that a form spells; None where whole numbers are needed and a range has others."""
    if form.values is not None:
        return form.values
    if form.power_of_two is not None:
        low, high = form.power_of_two
        return tuple(2**exponent for exponent in range(low.bit_length() - 1, high.bit_length()))
    spaced = np.linspace(*form.linear) if form.linear else np.geomspace(*(form.log or (1.0, 2.0, 2)))
    values = [float(f"{value:.12g}") for value in spaced.tolist()]
    whole = all(value.is_integer() for value in values)
    if integer and not whole:
        return None
    return tuple(int(value) for value in values) if integer else tuple(values)


def scale(form: ValuesForm, values: Sequence[Value]) -> Scale:
    """Ordered where the values are numbers that rise or fall throughout."""
    if form.power_of_two is not None:
        return Scale.POWER_OF_TWO
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Scale.CATEGORICAL
    return Scale.ORDERED if numbers in (sorted(numbers), sorted(numbers, reverse=True)) else Scale.CATEGORICAL
