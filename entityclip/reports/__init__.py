"""Reports and plots as self-contained HTML."""
