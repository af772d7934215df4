"""Agents that use the page by the Model Context Protocol."""

import asyncio

import pytest

from tests.space.conftest import Server
from tests.space.test_endpoints import PUBLIC

mcp = pytest.importorskip("mcp", reason="needs mcp, which gradio[mcp] brings")


async def listed_tools(url: str) -> list:
    from mcp.client.streamable_http import streamablehttp_client

    async with streamablehttp_client(url) as (read, write, _), mcp.ClientSession(read, write) as session:
        await session.initialize()
        return (await session.list_tools()).tools


def test_every_endpoint_is_a_tool_with_described_inputs(server: Server):
    tools = {tool.name.lstrip("_"): tool for tool in asyncio.run(listed_tools(f"{server.url}/gradio_api/mcp/"))}
    names = {next((tool for tool in tools if tool.endswith(name[1:])), None) for name in PUBLIC}
    assert None not in names and len(tools) == len(PUBLIC)
    film = next(tool for name, tool in tools.items() if name.endswith("reenact_film"))
    assert "expression of a driving video" in film.description
    inputs = film.inputSchema["properties"]
    assert "visitor" not in inputs
    assert {"film", "driving", "consent", "head", "fit", "sound"} <= set(inputs)
    assert all(item.get("description") for name, item in inputs.items()), inputs
    assert film.inputSchema["required"] == ["film"]
