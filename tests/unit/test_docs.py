"""Pages: links resolve, commands parse, printed output is what the commands print."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dse.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(p for p in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/*/README.md"), *ROOT.glob("*.md")))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CONSOLE = re.compile(r"(<!-- run -->\s*\n)?^ *```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """Anchors that a Markdown renderer makes of headings: lower case, spaces to hyphens, punctuation dropped."""
    headings = HEADING.findall(FENCE.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    missing = []
    for link in LINK.finditer(FENCE.sub("", page.read_text())):
        target = link[1] or link[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            missing.append(target)
    assert not missing


def blocks(page: Path) -> list[tuple[bool, str]]:
    """(to be run, text) of the console blocks of a page."""
    return [(bool(m[1]), "".join(line.strip() + "\n" for line in m[2].splitlines())) for m in CONSOLE.finditer(page.read_text())]


def steps(text: str) -> list[tuple[list[str], str]]:
    """(words after `dse`, expected output) of each command of a block."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        words = shlex.split(command)
        if words[0] == "dse":
            found.append((words[1:], output))
    return found


COMMANDS = sorted({tuple(words) for page in PAGES for _, text in blocks(page) for words, _ in steps(text)})
RUNNABLE = [(page, words, output) for page in PAGES for run, text in blocks(page) if run for words, output in steps(text)]


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 8
    assert len(RUNNABLE) >= 4


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_parse(words: tuple[str, ...]) -> None:
    """Known command, options and choices; nothing is run."""
    group = typer.main.get_command(app)
    context = group.make_context("dse", list(words), resilient_parsing=False)
    rest = [*context._protected_args, *context.args]
    name, command, arguments = group.resolve_command(context, rest)  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize(("page", "words", "output"), RUNNABLE, ids=lambda v: name_of(v) if isinstance(v, Path) else None)
def test_printed_output_is_real(page: Path, words: list[str], output: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    got = "".join(line.strip() + "\n" for line in result.stdout.splitlines())
    pattern = "".join(re.escape(line + "\n") if line != "..." else r"(?:.*\n)*?" for line in output.rstrip().splitlines())
    end = "" if output.rstrip().endswith("...") else "$"
    assert re.match(pattern + end, got), f"{name_of(page)}: {' '.join(words)} printed\n{got[:2000]}"


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text()], ids=name_of)
def test_python_sessions_are_real(page: Path) -> None:
    assert doctest.testfile(str(page), module_relative=False).failed == 0


def test_decisions_are_numbered_and_indexed() -> None:
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    index = (ROOT / "docs/README.md").read_text()
    assert [int(f.name[:4]) for f in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text()
        assert text.startswith(f"# {file.name[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "What it costs", "Alternatives"))
        assert f"decisions/{file.name}" in index
