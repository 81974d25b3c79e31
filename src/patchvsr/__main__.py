"""Run the command line with `python -m patchvsr`."""

from patchvsr.cli.main import main

main()
