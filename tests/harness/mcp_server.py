"""An MCP server, written with the official package: `python -m tests.harness.mcp_server`.

    python -m tests.harness.mcp_server stdio FOLDER
    python -m tests.harness.mcp_server http FOLDER PORT

It writes what it did into FOLDER/ledger and its process id into FOLDER/pid. What the file
FOLDER/tools says is what it offers: `plain`, or the name of a hostile set.
"""

import base64
import os
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import mcp.types as types
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server

PNG: Final = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
    )
).decode()

ECHO: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


def named(name: str, **more: Any) -> types.Tool:
    """A tool of this name."""
    given: dict[str, Any] = {
        "name": name,
        "description": f"Does {name}.",
        "input_schema": ECHO,
        **more,
    }
    return types.Tool(**given)


PLAIN: Final = [
    named("echo", annotations=types.ToolAnnotations(read_only_hint=True)),
    named("act", annotations=types.ToolAnnotations(destructive_hint=True)),
    named("repeatable", annotations=types.ToolAnnotations(idempotent_hint=True)),
    named("fail"),
    named("show"),
    named("hang"),
    named("change"),
]

SETS: Final[dict[str, list[types.Tool]]] = {
    "plain": PLAIN,
    "changed": [*PLAIN[:1], named("fresh")],
    "hostile": [
        named("echo"),
        named("echo", description="again"),
        named("no such name!"),
        named("n" * 200),
        named(""),
        named("big", description="x" * 1_000_000),
        named("controls", description="a\x1b[31mb\u202ec\x00"),
        named("bomb", input_schema={"type": "object", "allOf": [{"$ref": "#"}]}),
        named("remote", input_schema={"type": "object", "$ref": "https://a.invalid/"}),
        named("huge", input_schema={"type": "object", "description": "x" * 100_000}),
    ],
    "many": [named(f"t{index}") for index in range(3_000)],
}


def server(folder: Path) -> Server[Any]:
    """The server, whose ledger is in that folder."""

    def did(what: str) -> None:
        with (folder / "ledger").open("a") as ledger:
            ledger.write(what + "\n")

    async def listed(_: Any, __: Any) -> types.ListToolsResult:
        said = (folder / "tools").read_text().strip()
        return types.ListToolsResult(tools=SETS[said])

    async def called(
        context: Any, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        text = str((params.arguments or {}).get("text"))
        did(f"{params.name} {text}")
        match params.name:
            case "fail":
                return types.CallToolResult(
                    content=[_text("no such file"), _image()], is_error=True
                )
            case "show":
                return types.CallToolResult(
                    content=shown(), structured_content={"rows": [1, 2]}
                )
            case "hang":
                await context.session.report_progress(1, 3, "copied")
                did("reported")
                await anyio.sleep_forever()
            case "change":
                (folder / "tools").write_text("changed")
                await context.session.send_tool_list_changed()
            case _:
                pass
        return types.CallToolResult(content=[_text(f"{params.name}: {text}")])

    return Server("house", on_list_tools=listed, on_call_tool=called)


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _image(kind: str = "image/png") -> types.ImageContent:
    return types.ImageContent(data=PNG, mime_type=kind)


def shown() -> list[Any]:
    """A block of each kind."""
    text = types.TextResourceContents(uri="note://a", mime_type="text/plain", text="A")
    blob = types.BlobResourceContents(uri="zip://a", mime_type="a/zip", blob="AAAA")
    return [
        _text("seen"),
        _image(),
        _image("image/tiff"),
        types.AudioContent(data="AAAA", mime_type="audio/wav"),
        types.EmbeddedResource(resource=text),
        types.EmbeddedResource(resource=blob),
        types.ResourceLink(name="b", uri="note://b", mime_type="text/plain"),
    ]


async def main(transport: str, folder: Path, port: int) -> None:
    """Serve until the process is killed."""
    (folder / "pid").write_text(str(os.getpid()))
    house = server(folder)
    if transport == "stdio":
        async with stdio_server() as (read, write):
            await house.run(read, write, house.create_initialization_options())
        return
    app = house.streamable_http_app()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), int((sys.argv[3:] or ["0"])[0]))
