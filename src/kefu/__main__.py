"""`python -m kefu`: the command line, wherever scripts are not on the path."""

from .cli import main

main()
