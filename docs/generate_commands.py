"""Writes one page per command from the command line itself, as a hook of mkdocs, so that the pages cannot drift."""

from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sam_hub.cli import app

FOLDER = "commands"
TABLES = {"argument": "Arguments", "option": "Options"}
VERBATIM = "\b\n"  # opens a paragraph that `--help` does not rewrap


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown: an index, then one page per command."""
    commands = dict(_commands(typer.main.get_command(app)))
    summaries = {name: " ".join(command.help.split("\n\n")[0].split()) for name, command in commands.items()}
    listed = "\n".join(f"- [`sam-hub {name}`]({_file(name)}): {summary}" for name, summary in summaries.items())
    index = f"# Commands\n\n{listed}\n\nExit codes: 0 success, 1 a failure named in one sentence, 2 wrong usage.\n"
    return {f"{FOLDER}/index.md": index} | {f"{FOLDER}/{_file(name)}": _page(name, commands[name]) for name in commands}


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """(full name, command) for every command of a group and of its subgroups."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _file(name: str) -> str:
    return f"{name.replace(' ', '-')}.md"


def _page(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["sam-hub", name, *command.collect_usage_pieces(context)])
    blocks = [
        f"# sam-hub {name}",
        f"```text\n{usage}\n```",
        *map(_paragraph, command.help.split("\f")[0].split("\n\n")),
    ]
    for kind, title in TABLES.items():
        records = [p.get_help_record(context) for p in command.params if p.param_type_name == kind]
        if rows := [_row(*record) for record in records if record]:
            blocks += [f"## {title}", "\n".join([f"| {kind} | |", "|---|---|", *rows])]
    return "\n\n".join(blocks) + "\n"


def _paragraph(text: str) -> str:
    return f"```bash\n{text.removeprefix(VERBATIM).rstrip()}\n```" if text.startswith(VERBATIM) else text.strip()


def _row(names: str, explanation: str) -> str:
    escaped = explanation.replace("|", "&#124;").replace("<", "&lt;")
    return f"| `{names.replace('|', ' or ')}` | {escaped} |"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and lists them in the navigation."""
    written = pages()
    for path, text in written.items():
        files.append(File.generated(config, path, content=text))
    config.nav = [{"Commands": list(written)} if "Commands" in section else section for section in config.nav]
    return files
