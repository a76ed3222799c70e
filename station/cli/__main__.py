"""`python -m station.cli` is `station`."""

from station.cli import main

main()
