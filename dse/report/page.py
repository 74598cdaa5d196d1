"""The page of a run: one HTML file that needs nothing else; every text escaped, pictures inline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from dse.report.data import named_designs
from dse.report.style import inline
from dse.search.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.view import Run
    from dse.report.figures import Picture

ASSUMPTIONS: Final = (
    "One chip with one core: MAC arrays and a vector unit behind the memories that its accelerator file lists, DRAM last.",
    "Each design takes the best of an exact frontier of mappings; operators run one after another, fused where that is cheaper.",
    "Latency of an operator is the busiest of its resources plus overheads; nothing is free and no operator is left out.",
    "Energy is MACs, vector operations, every access to every memory, and leakage over time.",
    "All constants are those of the accelerator and technology files, each with its source on its line.",
)
_CSS: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:1020px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ddd;padding-bottom:.2rem}
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #eee;white-space:nowrap}
td.n{text-align:right;font-variant-numeric:tabular-nums}th{background:#f6f6f6}
figure{margin:1.2rem 0}figure svg{width:100%;height:auto}figcaption{font-size:13px;color:#555}
.lead{color:#555}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;font-size:13px}dd{margin:0;overflow-wrap:anywhere}
pre{background:#f6f6f6;padding:.8rem;font-size:12px;overflow-x:auto}
"""


def page(run: Run, drawn: Sequence[Picture], *, config: str) -> str:
    """The whole page; `config` is the resolved configuration as YAML."""
    title = f"Campaign {run.header.campaign}"
    sections = (
        _head(run, title),
        _best(run),
        *(_figure(picture) for picture in drawn),
        _bounds(run),
        _failures(run),
        _section("Configuration", f"<pre>{escape(config)}</pre>"),
        _section("Assumptions", "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in ASSUMPTIONS) + "</ul>"),
        _manifest(run),
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_CSS}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(sections) + "\n</body></html>\n"


def _head(run: Run, title: str) -> str:
    space = run.header.space
    feasible = sum(record.feasible for record in run.records)
    sampled = f"sampled by {run.header.sampler}: the front is the best found"
    how = "every design of the space was decided: the front is exact" if run.exact else sampled
    facts = {
        "workload": run.header.workload,
        "accelerators": ", ".join(run.header.accelerators),
        "space": f"{space.outer_size:,} outer choices x {space.inner_size:,} inner points = {space.size:,} designs",
        "priced": f"{run.priced:,} designs in {len(run.records):,} trials, {feasible:,} feasible; {how}",
        "objectives": ", ".join(f"{name} [{quantity(name).unit}], {quantity(name).better.value}" for name in run.header.goals.objectives),
        "limits": "; ".join(e.text for e in run.header.limits.expressions) or "none",
        "constraints": "; ".join(map(str, run.header.goals.constraints)) or "none",
        "front": f"{len(run.archive)} designs",
        "hypervolume": _hypervolume(run),
    }
    return f'<h1>{escape(title)}</h1><p class="lead">{escape(run.header.question)}</p>{_definitions(facts)}'


def _hypervolume(run: Run) -> str:
    if run.archive.reference is None:
        return "none: no feasible design"
    point = ", ".join(f"{n} {v:.6g}" for n, v in zip(run.header.goals.objectives, run.archive.reference, strict=True))
    source = (
        "as given in the campaign"
        if run.header.reference is not None
        else "worst feasible value of the first batch, moved 10 % to the bad side, fixed from then on"
    )
    return f"{run.archive.hypervolume:.8g}, reference point {point} ({source})"


def _best(run: Run) -> str:
    named = named_designs(run)
    if not named:
        nearest = min(
            (r.lacking.why for r in run.records if r.lacking is not None), key=lambda why: why.demand_bytes / why.bound_bytes, default=None
        )
        why = f" What comes nearest to fitting lacks {escape(str(nearest))}." if nearest is not None else ""
        return _section("Best designs", f"<p>No design is feasible.{why}</p>")
    outer = {record.number: record.outer for record in run.records}
    columns = [
        {
            "trial": trial,
            **{f"{n} [{quantity(n).unit}]": design.metrics[n] for n in run.header.goals.columns},
            "bound by": design.bound,
            **run.header.space.parameters(outer[trial], design.inner),
        }
        for _, trial, design in named
    ]
    names = [name for name, _, _ in named]
    rows = [{"": key, **{name: column[key] for name, column in zip(names, columns, strict=True)}} for key in columns[0]]
    return _section("Best designs", _table(rows))


def _bounds(run: Run) -> str:
    counts: dict[str, int] = {}
    for member in run.archive.members:
        counts[member.design.bound] = counts.get(member.design.bound, 0) + 1
    rows = [
        {"busiest resource": bound, "front members": count, "share": f"{count / len(run.archive):.0%}"}
        for bound, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return _section("What bounds the front", _table(rows)) if rows else ""


def _failures(run: Run) -> str:
    if not run.failures:
        return _section("Failures", "<p>None.</p>")
    rows = [{"trial": r.number, "error": r.error, **run.header.space.choice(r.outer)} for r in run.failures]
    return _section("Failures", _table(rows))


def _manifest(run: Run) -> str:
    manifest = run.manifest
    identity = manifest.get("identity")
    environment = manifest.get("environment")
    facts: dict[str, object] = {"seed": run.header.seed, "sampler": run.header.sampler, "configuration hash": run.header.config_hash}
    if isinstance(identity, dict):
        facts["code version"] = identity.get("code_version")
    if isinstance(environment, dict):
        packages = environment.get("packages")
        facts["python"], facts["platform"] = environment.get("python"), environment.get("platform")
        if isinstance(packages, dict):
            facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    overrides = manifest.get("overrides")
    facts["overrides"] = ", ".join(map(str, overrides)) if isinstance(overrides, list) else ""
    return _section("Manifest", _definitions({key: value for key, value in facts.items() if value not in (None, "")}))


def _figure(picture: Picture) -> str:
    drawn = inline(picture.svg, picture.name)
    return f'<figure id="{escape(picture.name)}">{drawn}<figcaption>{escape(picture.caption)}</figcaption></figure>'


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}"


def _definitions(facts: Mapping[str, object]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items()) + "</dl>"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f"<th>{escape(str(key))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.5g}</td>'
    kind = ' class="n"' if isinstance(value, int) and not isinstance(value, bool) else ""
    return f"<td{kind}>{escape(str(value))}</td>"
