"""Print the table of claims of docs/validation.md."""

from dse.validation.claims import check_claims

print("| claim | published | ours | verdict |\n| --- | --- | --- | --- |")
for c in check_claims("all"):
    print(f"| {c.id} | {c.published} | {c.ours} | {c.verdict} |")
