"""The protocol's handlers around a toolbox. Knows the SDK and no transport."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    TextContent,
    TextResourceContents,
    Tool,
)

from aiflow.errors import AiflowError, InputError
from aiflow.serve.config import Allowance
from aiflow.serve.exchange import NOBODY
from aiflow.serve.mcp import toolbox as box
from aiflow.serve.mcp.toolbox import RESOURCES, Toolbox

Context = ServerRequestContext[Any, Any]
_JSON = "application/json"
_HOW = "Models on devices, edge servers and clouds, and graphs of them. Each tool asks one of them one question."


def server(toolbox: Toolbox, allowance: Allowance) -> Server[Any]:
    """A server of the toolbox's tools. ``allowance``: of callers without keys."""

    async def tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        found = await _opened(toolbox)
        rows = [Tool(name=t.name, description=t.about, input_schema=dict(t.schema)) for t in found.values()]
        return ListToolsResult(tools=rows)

    async def call(context: Context, asked: CallToolRequestParams) -> CallToolResult:
        tool = (await _opened(toolbox)).get(asked.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, "there is no such tool; tools/list names them.")
        caller, allowed = _caller(context, allowance)
        result = await toolbox.call(tool, asked.arguments or {}, caller, allowed)
        return CallToolResult(content=[TextContent(type="text", text=result.text)], is_error=result.failed)

    async def resources(_: Context, __: PaginatedRequestParams | None) -> ListResourcesResult:
        rows = [
            Resource(uri=uri, name=uri.rpartition("/")[2], description=about, mime_type=_JSON)
            for uri, about in RESOURCES.items()
        ]
        return ListResourcesResult(resources=rows)

    async def resource(_: Context, asked: ReadResourceRequestParams) -> ReadResourceResult:
        try:
            text = await toolbox.resource(str(asked.uri))
        except InputError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error
        except AiflowError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        return ReadResourceResult(contents=[TextResourceContents(uri=asked.uri, text=text, mime_type=_JSON)])

    return Server(
        "aiflow",
        version=version("aiflow"),
        instructions=_HOW,
        on_list_tools=tools,
        on_call_tool=call,
        on_list_resources=resources,
        on_read_resource=resource,
    )


async def _opened(toolbox: Toolbox) -> dict[str, box.Tool]:
    try:
        return await toolbox.tools()
    except AiflowError as error:
        raise MCPError(INTERNAL_ERROR, f"the agents cannot be started: {error}") from error


def _caller(context: Context, allowance: Allowance) -> tuple[str, Allowance]:
    scope: Mapping[str, Any] = getattr(context.request, "scope", {})  # none on stdio
    found: tuple[str, Allowance] = scope.get("aiflow.caller", (NOBODY, allowance))
    return found
