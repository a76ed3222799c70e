"""`python -m trainer.cli` is `trainer`."""

from trainer.cli import main

main()
