"""``python -m verinfer.verifier`` is the command ``verinfer``."""

from .cli import main

main()
