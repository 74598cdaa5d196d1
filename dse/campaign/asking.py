"""What is to be evaluated next: batches in order, of which the first may have been begun by an earlier session."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.campaign.engines import Engine
    from dse.search.strategy import Asked, Strategy
    from dse.search.trial import TrialRecord


@dataclass(frozen=True, slots=True)
class Begun:
    """The trials of a batch that are in the log already, and what is left of it."""

    number: int
    records: tuple[TrialRecord, ...]
    rest: tuple[Asked, ...]


def begun_batch(strategy: Strategy, records: Sequence[TrialRecord], trials: int) -> Begun | None:
    """The last batch of `records`, where it is unfinished: what the strategy asked for then, it asks for again.

    A batch that was cut by a smaller budget is unfinished as well, so that a budget that grows in steps gives what one step gives.
    """
    if not records or len(records) >= trials:
        return None
    number = records[-1].batch
    own = tuple(record for record in records[-strategy.batch_size :] if record.batch == number)
    before = records[: len(records) - len(own)]
    asked = strategy.ask(before, number, min(strategy.batch_size, trials - len(before)), done=len(before))
    same = [one.outer for one in asked[: len(own)]] == [record.outer for record in own]
    return Begun(number, own, asked[len(own) :]) if same and len(asked) > len(own) else None


class Asking:
    """Batches in order; of a strategy that does not look back, enough of them ahead to keep all workers busy."""

    def __init__(self, strategy: Strategy, records: Sequence[TrialRecord], trials: int, begun: Begun | None) -> None:
        """`records` grows with every batch that is acknowledged."""
        self._strategy = strategy
        self._records = records
        self._trials = trials
        self._ahead: deque[tuple[int, tuple[Asked, ...]]] = deque()
        self._asked = len(records)
        self._batch = records[-1].batch + 1 if records else 0
        if begun is not None:
            self._ahead.append((begun.number, begun.rest))
            self._asked += len(begun.rest)

    def next(self, engine: Engine) -> tuple[int, tuple[Asked, ...]] | None:
        """Number and choices of the next batch; None at the end."""
        self._fill(1)
        if not self._ahead:
            return None
        if not self._strategy.looks_back and engine.slots > 1:
            self._fill(1 + -(-engine.slots // self._strategy.batch_size))
            for _, asked in self._ahead:
                engine.submit([one.outer for one in asked])
        return self._ahead.popleft()

    def _fill(self, batches: int) -> None:
        while len(self._ahead) < batches:
            count = min(self._strategy.batch_size, self._trials - self._asked)
            asked = self._strategy.ask(self._records, self._batch, count, done=self._asked) if count > 0 else ()
            if not asked:
                return
            self._ahead.append((self._batch, asked))
            self._asked += len(asked)
            self._batch += 1
