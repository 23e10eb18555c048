"""A device format in one folder outside the package: two ``torch.export`` programs, run by ``torch.export.load``."""

from sam_hub.exporters.format import EXACT, Choice, Format, Snippet

FORMAT = Format(
    name="toy",
    package=__name__,
    title="Toy",
    purpose="show that a format is one folder",
    export="programs:export",
    runner="programs:Programs",
    tolerances={"fp32": EXACT},
    default=("fp32",),
    options=("slots",),
    preferred=("fp32",),
    packages=("torch",),
    requires={"torch": "torch"},
    runs_on=("torch",),
    distribution="toy-format",
    snippets=(Snippet("use.py.in", "toy/use.py"),),
    presets={
        "toaster": Choice(("fp32",), "a toaster runs programs of torch, and has nothing better to do with its heat")
    },
)
