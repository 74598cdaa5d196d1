"""Run one experiment, those of one folder, or all: `python -m experiments [FOLDER] [--smoke]`."""

from experiments.kit import main

raise SystemExit(main())
