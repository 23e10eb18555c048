"""Every block of commands in README.md and docs/ is run, in order, and what they say about the models is true.

Each fenced ``bash`` block is a script, each ``python`` block a program of its own; of a ``console`` block the lines
after ``$`` are run and the others must be what they print (``...`` stands for anything). Programs and ``sam-hub`` start
as `forks` does. The blocks of a page share a folder that holds ``examples/``. A block is left out only by a comment
above it, ``<!-- not run: REASON -->`` or ``<!-- needs the network -->``, which shows in the report as a skip.
"""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from sam_hub.families.registry import built_in

from .forks import Forks

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
NETWORK = "needs the network"
NOT_PROGRAMS = {"bibtex", "text"}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str = "page") -> list[Block]:
    return [
        Block(page, text[: m.start("code")].count("\n") + 1, m["language"], m["code"], m["note"] or "")
        for m in BLOCK.finditer(text)
        if m["language"] not in NOT_PROGRAMS
    ]


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a block, each with the pattern of what it must print."""
    if block.language in ("python", "bash"):
        return [(block.code, "*")]
    if block.language == "console":
        steps = re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]
        pairs = (step.partition("\n") for step in steps)
        return [(line, output.strip() or "*") for line, _, output in pairs]
    raise AssertionError(f"{block}: no rule to run a {block.language} block")


def run(block: Block, folder: Path, forks: Forks | None = None) -> None:
    """forks: None for blocks that reach the network, whose programs start as usual"""
    paths = sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"]
    environment = forks.environment if forks else {**os.environ, "PATH": paths}
    for command, pattern in commands_of(block):
        if forks and block.language == "python":
            done = forks.run(command, cwd=folder)
        else:
            start = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
            done = subprocess.run([*start, command], cwd=folder, env=environment, capture_output=True, text=True)
        said = f"{block}: {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        expected = re.sub(r"[\[?]", lambda m: f"[{m[0]}]", pattern).replace("...", "*")
        assert fnmatchcase(done.stdout.strip(), expected), said


BLOCKS = [b for page in PAGES for b in blocks_of(page.read_text("utf-8"), page.relative_to(ROOT).as_posix())]
LEFT_OUT = [block for block in BLOCKS if block.note.startswith("not run: ")]
ONLINE = [block for block in BLOCKS if block.note == NETWORK]
RUNNABLE = [block for block in BLOCKS if block not in LEFT_OUT + ONLINE]
RUN = [b for i, b in enumerate(RUNNABLE) if b.code not in {earlier.code for earlier in RUNNABLE[:i]}]


def in_folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_blocks_run_in_order(page, forks, tmp_path, subtests):
    folder = in_folder(tmp_path)
    for block in RUN:
        if block.page == page:
            with subtests.test(line=block.line):
                run(block, folder, forks)


def test_the_first_page_has_blocks_of_both_kinds():
    assert {block.language for block in RUN if block.page == "README.md"} >= {"python", "bash"}


@pytest.mark.network
@pytest.mark.parametrize("block", ONLINE, ids=str)
def test_block_with_network(block, tmp_path):
    run(block, in_folder(tmp_path))


@pytest.mark.parametrize("block", LEFT_OUT, ids=str)
def test_block_left_out(block):
    pytest.skip(block.note)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    """Files only: `make docs` checks anchors, and links to the pages of commands, which it writes."""
    targets = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", BLOCK.sub("", page.read_text("utf-8")))
    files = [target.split("#")[0] for target in targets if "commands/" not in target]
    assert not [file for file in files if not (page.parent / file).exists()]


def test_table_of_models_is_generated():
    spec = importlib.util.spec_from_file_location("generate_readme", ROOT / "docs" / "generate_readme.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    text = README.read_text("utf-8")
    assert text == generator.written(text), "run: python docs/generate_readme.py"


def test_table_of_models_agrees_with_the_catalogue():
    """| `name`, ... | parameters in millions, ... | ... | licence | : every model, and no other."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([\d, ]+) \|.*\| ([\w. -]+) \|$", README.read_text("utf-8"), re.MULTILINE)
    told = [
        (name.strip("`"), (millions, licence))
        for names, sizes, licence in rows
        for name, millions in zip(names.split(", "), sizes.split(", "), strict=True)
    ]
    assert len(dict(told)) == len(told) and dict(told) == {
        name: (f"{variant.params / 1e6:.0f}", variant.license)
        for family in built_in()
        for name, variant in family.catalogue.items()
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```bash\nfalse\necho fine\n```\n", "false"),
        ("```bash\ncat absent.txt | sort\n```\n", "absent.txt"),
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
        ("```console\n$ echo one\none\n$ echo two\nthree\n```\n", "echo two"),
        ("```console\n$ echo [0]\n0\n```\n", "echo"),
        ("```toml\na = 1\n```\n", "no rule"),
    ],
)
def test_a_wrong_block_is_noticed(text, fault, forks, tmp_path):
    (block,) = blocks_of(text)
    with pytest.raises(AssertionError, match=re.escape(fault)):
        run(block, tmp_path, forks)


def test_a_right_block_passes(forks, tmp_path):
    text = "```bash\necho 1 > a\n```\n<!-- not run: it would fail -->\n```bash\nfalse\n```\n"
    text += "```console\n$ cat a; echo '[ab] and c'\n1\n[ab] ... c\n$ true\n```\n"
    first, left_out, last = blocks_of(text)
    assert left_out.note == "not run: it would fail"
    run(first, tmp_path, forks)
    run(last, tmp_path, forks)
