"""The named endpoints, called by gradio_client and MCP as in the docs."""

import ast
import asyncio
import base64

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from pycocotools import mask as coco_mask

CLICK = ([[285, 150]], [1])


@pytest.fixture(scope="module")
def client(running) -> Client:
    return Client(running.url, verbose=False)


@pytest.fixture(scope="module")
def photo(client, coffee) -> dict:
    return client.predict(base64.b64encode(coffee).decode(), api_name="/encode")


def test_the_endpoints_have_names_and_say_what_they_do(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/encode", "/segment", "/everything"}
    for facts in endpoints.values():
        assert len(facts["description"]) > 20


def test_encode_and_segment(client, photo, running):
    assert (photo["width"], photo["height"]) == (600, 400)
    points, labels = CLICK
    answer = client.predict(photo["id"], points, labels, api_name="/segment")
    best = answer["masks"][answer["best"]]
    mask = coco_mask.decode(best["rle"])
    assert mask.shape == (400, 600) and mask.sum() == best["area"] > 0
    page = running.segment(photo["id"], {"points": points, "labels": labels})
    assert [m["rle"] for m in page["masks"]] == [m["rle"] for m in answer["masks"]]
    refine = {"result": answer["result"], "mask": answer["best"]}
    better = client.predict(photo["id"], [[285, 150], [110, 200]], [1, 0], None, refine, api_name="/segment")
    assert len(better["masks"]) == 4
    boxed = client.predict(photo["id"], box=[172, 17, 412, 310], api_name="/segment")
    x, _, w, _ = boxed["masks"][0]["bbox"]
    assert x > 100 and x + w < 500
    closer = client.predict(photo["id"], box=[172, 17, 412, 310], zoom=True, api_name="/segment")
    small = client.predict(photo["id"], box=[200, 250, 240, 290], zoom=True, api_name="/segment")
    assert closer["window"] is None and small["window"] == [180, 230, 260, 310]
    with pytest.raises(AppError, match="zoom needs points or a box"):
        client.predict(photo["id"], [[285, 150]], [1], None, refine, zoom=True, api_name="/segment")


def test_everything(client, photo):
    answer = client.predict(photo["id"], "fast", api_name="/everything")
    assert all(coco_mask.decode(m["rle"]).sum() == m["area"] for m in answer["masks"])
    assert all("path" not in m for m in answer["masks"]) and answer["ms"] > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("/etc/passwd", "/encode"), "base64"),
        (("file:///etc/passwd", "/encode"), "base64"),
        (("http://127.0.0.1:1/x.jpg", "/encode"), "base64"),
        (("aGVsbG8=", "/encode"), "not a photo"),
        (("nobody", [[1, 2]], "/segment"), "no longer on the server"),
        (("nobody", "fast", "/everything"), "no longer on the server"),
    ],
)
def test_refusals_are_sentences(client, call, words):
    with pytest.raises(AppError, match=words):
        client.predict(*call[:-1], api_name=call[-1])


def test_visitors_do_not_see_each_other(running, cat, coffee):
    """The same click on two alternating photos: each answer belongs to its own photo."""
    ids = [running.encode(data)["id"] for data in (cat, coffee)]
    prompt = {"points": [[200, 150]], "labels": [1]}
    first = [running.segment(i, prompt)["masks"] for i in ids]
    assert [m[0]["rle"]["size"] for m in first] == [[300, 451], [400, 600]]
    for _ in range(3):
        for i, expected in zip(ids, first, strict=True):
            assert running.segment(i, prompt)["masks"] == expected


def test_language_models_find_tools(running, coffee):
    mcp = pytest.importorskip("mcp", reason="MCP needs an extra: install sam-hub[mcp]")
    from mcp.client.streamable_http import streamable_http_client

    def read(result: object) -> dict:
        return ast.literal_eval(result.content[0].text)  # Gradio gives a tool's answer as Python writes it

    async def talk() -> tuple[list[str], dict, dict]:
        address = f"{running.url}/gradio_api/mcp/"
        async with streamable_http_client(address) as streams, mcp.ClientSession(*streams[:2]) as session:
            await session.initialize()
            tools = {tool.name.rpartition("_")[2]: tool.name for tool in (await session.list_tools()).tools}
            sent = {"image": base64.b64encode(coffee).decode()}
            photo = read(await session.call_tool(tools["encode"], sent))
            asked = {"id": photo["id"], "box": [172, 17, 412, 310]}
            answer = read(await session.call_tool(tools["segment"], asked))
            return sorted(tools), photo, answer

    tools, photo, answer = asyncio.run(talk())
    assert tools == ["encode", "everything", "segment"] and photo["width"] == 600
    assert np.count_nonzero(coco_mask.decode(answer["masks"][0]["rle"])) == answer["masks"][0]["area"]
