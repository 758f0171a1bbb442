"""`python -m pipelines` is the `clso` command."""

from pipelines.cli import main

main()
