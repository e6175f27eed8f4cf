"""One self-contained HTML file on a run, and its figures."""
