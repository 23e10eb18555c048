"""Training with a launcher, which also matches abbreviations of its own options after the module's name."""

from argparse import ArgumentParser

import pytest
import typer
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from sam_hub.cli import app
from sam_hub.training.pocket import command_line

COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    "sam_hub.training.pocket": [a.option_strings[-1] for a in command_line()._actions],
    **{f"sam_hub {name}": [o for p in COMMANDS[name].params for o in p.opts] for name in ("train", "distill")},
}


@pytest.mark.parametrize("launcher", [get_args_parser, launch_command_parser], ids=["torchrun", "accelerate"])
@pytest.mark.parametrize("program", OPTIONS)
def test_a_launcher_leaves_every_option_to_the_program(program: str, launcher):
    assert len(OPTIONS[program]) > 7
    words = [word for option in OPTIONS[program] for word in (option, "x")]
    module, *command = program.split()
    launch: ArgumentParser = launcher()
    assert launch.parse_args(["-m", module, *command, *words]).training_script_args == [*command, *words]
