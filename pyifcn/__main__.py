"""Run the program as ``python -m pyifcn``."""

from pyifcn.cli import main

main()
