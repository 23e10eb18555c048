"""ncnn: files for phones and boards that run ncnn, converted by pnnx and run by ncnn's Python package."""

from ...format import EXACT, HALF, Format, Snippet

FORMAT = Format(
    name="ncnn",
    package=__name__,
    title="ncnn",
    purpose="export to phones and boards through ncnn, and run there without torch",
    export="export:export",
    runner="runner:open_runner",
    tolerances={"fp16": HALF, "fp32": EXACT},
    default=("fp16",),
    preferred=("fp16", "fp32"),
    options=("slots",),
    packages=("torch", "pnnx", "ncnn"),
    requires={"pnnx": "pnnx", "ncnn": "ncnn"},
    runs_on=("ncnn",),
    extra="ncnn",
    snippets=(Snippet("segment.py.in", "ncnn/segment.py"), Snippet("segment.cpp", "ncnn/segment.cpp")),
)
