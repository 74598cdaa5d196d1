"""Write what the README shows of this campaign anew: its two tables, and docs/figures/reuse_or_recompute.

python -m experiments.mla_reuse_recompute.readme        # prices the campaign first, or goes on with its run
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]
PICTURE: Final = ROOT / "docs" / "figures" / "reuse_or_recompute"
BEGIN, END = "<!-- tables of make explore -->\n\n```text\n", "```\n\n<!-- end of tables -->"
FIRST: Final = "Which scheme wins where"


def with_tables(page: str, printed: str) -> str:
    """`page` with what the command printed from the first of the two tables on."""
    before, marked, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not marked or not ended or FIRST not in printed:
        raise ValueError("the page lacks its marks, or the command printed no tables")
    tables = "\n".join(line.rstrip() for line in printed[printed.index(FIRST) :].rstrip().splitlines())
    return before + BEGIN + tables + "\n" + END + after


def main() -> int:
    """Run the campaign, put its tables into the README and its picture into docs/figures; its exit code."""
    command = ["search", str(FOLDER / "campaign.yaml"), "--workers", "2", "--new-if-changed"]
    run = subprocess.run([sys.executable, "-m", "dse.cli", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.stderr.write(run.stderr)
        return run.returncode
    folder = ROOT / next(line.split(", page ")[0].removeprefix("run folder ") for line in run.stderr.splitlines() if ", page " in line)
    page = ROOT / "README.md"
    written = {page: with_tables(page.read_text(encoding="utf-8"), run.stdout).encode()}
    written |= {PICTURE.with_suffix(end): (folder / "figures" / f"crossover{end}").read_bytes() for end in (".svg", ".csv")}
    for path, content in written.items():
        print(f"{'unchanged' if path.read_bytes() == content else 'written'}: {path.relative_to(ROOT)}")
        path.write_bytes(content)
    print("numbers in the sentences below them, and in experiments/mla_reuse_recompute/README.md, are to be read again")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
