"""``python -m sam_hub`` is ``sam-hub``."""

from .cli import main

main()
