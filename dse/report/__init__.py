"""Reports: tables, pictures (data first, drawing second) and the page of a run."""
