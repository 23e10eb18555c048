#!/bin/sh
# gradio 6.31.0: a tool of its MCP server that returns a dict, declared as JSON, answers with Python's repr: single quotes,
# True, None. JSON parsers of MCP clients refuse it; the answer has no structured content either. The same endpoint over
# HTTP answers with JSON.
# Exit 0 while 6.31.0 behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "gradio[mcp]==6.31.0" >&2
GRADIO_ANALYTICS_ENABLED=False env/bin/python - <<'PYTHON'
import asyncio
import json
import sys

import gradio as gr
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


def score(name: str) -> dict:
    """Score an object."""
    return {"name": name, "found": True, "label": None}


with gr.Blocks() as app:
    gr.Interface(score, gr.Textbox(), gr.JSON(), api_name="score")
_, url, _ = app.launch(mcp_server=True, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")


async def ask():
    async with streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, *_):
        async with ClientSession(read, write) as session:
            await session.initialize()
            return await session.call_tool("score", {"name": "cat"})


answer = asyncio.run(ask())
text = answer.content[0].text
print("gradio", gr.__version__)
print("MCP:", text, "structured:", answer.structuredContent)
print("HTTP:", json.dumps(Client(url, verbose=False).predict("cat", api_name="/score")))
try:
    json.loads(text)
    is_json = True
except ValueError as e:
    print("as JSON:", e)
    is_json = False
app.close()
sys.exit(1 if is_json or answer.structuredContent else 0)
PYTHON
