"""`python -m dse`: the command, where its script is not on the path."""

import sys

from dse.cli import main

sys.exit(main())
