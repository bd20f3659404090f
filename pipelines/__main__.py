"""`python -m pipelines`: the command speechmill."""

from pipelines.cli import main

main()
