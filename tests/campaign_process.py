"""A campaign over the fake evaluator in a process of its own, to be killed: `python -m tests.campaign_process FOLDER WORKERS DELAY`."""

from __future__ import annotations

import sys
from pathlib import Path

from dse.campaign import session
from dse.campaign.folder import FolderRequest
from tests.search_fakes import FakeFactory, fake_plan

CODE_VERSION = "0+test"

if __name__ == "__main__":
    session.code_version = lambda: CODE_VERSION
    request = session.SessionRequest(folder=FolderRequest(run_dir=Path(sys.argv[1])), workers=int(sys.argv[2]))
    result = session.run_session(fake_plan(), FakeFactory(float(sys.argv[3])), request)
    sys.exit(int(result.exit_code))
