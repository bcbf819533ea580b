"""noeta-sdk with its SQLite storage. A task that the process before has left unfinished is
driven to its end by a worker first; then the message is sent. The lease of a process that has
died ends after three seconds."""

import time

import shop
from noeta.sdk import Client, HostConfig, Options, ToolResult, tool
from noeta.sdk.providers import AnthropicProvider

PATIENCE = 45.0


def offered(function, **properties):
    """A tool of noeta that calls a function."""
    schema = {"type": "object", "properties": properties, "required": [*properties]}

    @tool(
        name=function.__name__,
        version="1",
        input_schema=schema,
        description=function.__doc__,
    )
    def run(arguments, context):
        return ToolResult(success=True, output=function(**arguments))

    return run


options = Options(
    system_prompt=shop.SYSTEM,
    allowed_tools=(
        offered(shop.pay, amount={"type": "integer"}),
        offered(shop.write_note, text={"type": "string"}),
        offered(shop.look_up, name={"type": "string"}),
    ),
    permission_mode="bypassPermissions",
)
provider = AnthropicProvider(
    base_url=shop.BASE_URL,
    timeout_seconds=shop.READ_SECONDS,
    default_max_tokens=shop.MAX_TOKENS,
)
host = HostConfig(
    storage_path=str(shop.FOLDER / "noeta.db"), llm_max_retries=shop.ATTEMPTS - 1
)
with Client(
    options,
    provider=provider,
    workspace_dir=shop.FOLDER,
    model=shop.MODEL,
    host_config=host,
) as client:
    client.start_workers(
        lease_seconds=3, heartbeat_interval=1, stale_sweep_interval=0.5
    )

    def settled(task):
        """Wait until a worker has driven a task to where it rests."""
        deadline = time.monotonic() + PATIENCE
        while client.task_status(task).status in {"pending", "running"}:
            if time.monotonic() > deadline:
                raise SystemExit(f"still {client.task_status(task)}")
            time.sleep(0.05)

    tasks = [each.task_id for each in client.task_streams()]
    if tasks:
        settled(tasks[0])
        seeded = client.seed_send_goal(tasks[0], goal=shop.prompt())
    else:
        seeded = client.seed_start(goal=shop.prompt())
    client.dispatch_seeded(seeded)
    settled(seeded.task_id)
    reason = client.suspend_reason(seeded.task_id)
    print(reason)
    raise SystemExit(reason is None or reason.kind != "waiting_human")
