"""The pure parts of the page's JavaScript, tested in Node."""

import shutil
import subprocess

import pytest


@pytest.mark.skipif(not shutil.which("node"), reason="no node: apt-get install nodejs")
def test_in_node(root):
    file = root / "tests" / "demo" / "page.test.mjs"
    command = ["node", "--test", "--experimental-default-type=module", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "# pass 21" in done.stdout
