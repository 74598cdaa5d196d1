"""A campaign over the fake evaluator in a process of its own, to be killed: `python -m tests.campaign_process FOLDER WORKERS DELAY`.

Prints `number outer` of every trial once its acknowledgement has come back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dse.campaign import session
from dse.campaign.folder import FolderRequest
from dse.campaign.log import ResultLog
from dse.errors import DseError
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.search.trial import TrialRecord

CODE_VERSION = "0+test"


class TellingLog(ResultLog):
    """Tells of what it has acknowledged."""

    def append(self, records: Sequence[TrialRecord]) -> None:
        super().append(records)
        sys.stdout.write("".join(f"{record.number} {record.outer}\n" for record in records))
        sys.stdout.flush()


def main(folder: str, workers: str, delay_s: str) -> int:
    session.code_version = lambda: CODE_VERSION
    session.ResultLog = TellingLog  # type: ignore[misc]
    request = session.SessionRequest(folder=FolderRequest(run_dir=Path(folder)), workers=int(workers))
    try:
        return int(session.run_session(fake_plan(), FakeFactory(float(delay_s)), request).exit_code)
    except DseError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
