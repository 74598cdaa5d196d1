"""How a session shows where it is: one live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dse.search.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from dse.campaign.plan import Plan
    from dse.campaign.view import Run
    from dse.search.trial import TrialRecord

LINE_EVERY: Final = 0.1
"""Share of the trials after which a plain line is written."""


class SessionProgress:
    """Counts, best values and hypervolume of a running session; use as a context manager."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._archive = Archive(plan.goals, plan.reference)
        self._done = self._designs = self._fresh = self._fresh_trials = self._feasible = 0
        self._started = time.monotonic()
        self._next_line = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> SessionProgress:
        if self._console.is_terminal:
            columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
            self._bar.add_task("trials", total=self._plan.trials, state="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def start(self, run: Run) -> None:
        """Called once with what the run's folder holds."""
        records = run.records
        why = f" (auto: {run.sampler_reason})" if run.sampler_reason else ""
        there = f", {len(records)} trials are there already" if records else ""
        text = f"run folder {run.folder}, sampler {run.header.sampler}{why}{there}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._archive = Archive(self._plan.goals, self._plan.reference)
        batches: dict[int, list[TrialRecord]] = {}
        for record in records:
            batches.setdefault(record.batch, []).append(record)
        for batch in batches.values():
            self._take(batch)
        self._started = time.monotonic()
        self._fresh = self._fresh_trials = 0

    def batch(self, records: Sequence[TrialRecord]) -> None:
        """Called with every new batch."""
        self._take(records)
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done, state=self._state())
        elif self._done >= self._next_line or self._done == self._plan.trials:
            self._console.print(f"trial {self._done}/{self._plan.trials}: {self._state()}", highlight=False, markup=False, soft_wrap=True)
            self._next_line = self._done + LINE_EVERY * self._plan.trials

    def _take(self, records: Sequence[TrialRecord]) -> None:
        self._archive.add_batch(records)
        self._done += len(records)
        self._designs += sum(record.designs for record in records)
        self._fresh += sum(record.priced for record in records)
        self._fresh_trials += len(records)
        self._feasible += sum(record.feasible for record in records)

    def _state(self) -> str:
        parts = [f"feasible {self._feasible / max(self._designs, 1):.0%}"]
        for name in self._plan.goals.objectives:
            value = self._archive.best_value(name)
            if value is not None:
                parts.append(f"best {name} {value:.4g}")
        parts.append(f"front {len(self._archive)}")
        parts.append(f"hypervolume {self._archive.hypervolume:.4g}")
        elapsed = max(time.monotonic() - self._started, 1e-9)
        parts.append(f"{self._fresh / elapsed:,.0f} designs/s")
        if self._fresh_trials and self._done < self._plan.trials:
            parts.append(f"{elapsed / self._fresh_trials * (self._plan.trials - self._done):,.0f} s left")
        return ", ".join(parts)
