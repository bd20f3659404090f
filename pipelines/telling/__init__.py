"""What is told of a run that is there: counts, rows, a row's life, promises kept or broken."""
