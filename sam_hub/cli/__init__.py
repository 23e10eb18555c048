"""The command line, ``sam-hub``.

Each command is a function in its own module, registered below. It imports what it needs inside the function, so
that ``--help`` stays fast; it takes shared options from `options`; it raises the classes of `sam_hub.errors` for
errors that a user can fix and `WrongUsage` for an invalid command line, and leaves the rest to `failures`. Results
go to files or standard output, progress to standard error.
"""

import logging
import os
import signal
from typing import Annotated

import typer

from .. import __version__
from .bench import bench
from .convert import convert
from .demo import demo
from .distill import distill
from .doctor import doctor
from .engine import engine
from .evaluate import evaluate
from .everything import everything
from .export import export
from .failures import Commands
from .pull import pull
from .push import push
from .segment import segment
from .stats import stats
from .train import train
from .verify import verify
from .zoo import zoo

app = typer.Typer(
    name="sam-hub",
    cls=Commands,
    help="Segment Anything and its relatives: masks from clicks, boxes and text.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help by rich takes three times as long to appear
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(segment)
app.command()(everything)
app.command()(zoo)
app.command()(convert)
app.command()(pull)
app.command()(push)
app.command("eval")(evaluate)
app.command()(stats)
app.command()(export)
app.command()(verify)
app.command()(bench)
app.command()(train)
app.command()(distill)
app.command()(demo)
app.add_typer(engine, name="engine")
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sam-hub {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    trust_size: Annotated[
        bool,
        typer.Option("--trust-size", help="Lift the limits on sizes declared in model files and exported folders."),
    ] = False,
) -> None:
    if trust_size:
        from ..ops.bounds import VARIABLE

        os.environ[VARIABLE] = "1"  # inherited by worker processes


def main() -> None:
    """Entry point of ``sam-hub``."""
    # Set before torch is imported, so that idle threads sleep: beside another busy process, spinning ones made one
    # photo take eight minutes instead of one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads spin too
    for name in ("torchao", "torch.utils._pytree"):  # warn at import about accelerators
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        app(prog_name="sam-hub")
    finally:
        # Exiting takes a moment, in which another Ctrl-C would only print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
