"""Write the table of claims into docs/validation.md."""

from pathlib import Path

from dse.validation.claims import check_claims, page_with_table

page = Path("docs/validation.md")
page.write_text(page_with_table(page.read_text(encoding="utf-8"), check_claims("all")), encoding="utf-8")
