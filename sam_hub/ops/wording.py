"""Counts in sentences."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun: "1 mask", "2 masks", "1,200 masks".

    plural: default: the noun and an s
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
