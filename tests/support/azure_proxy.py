"""What stands between the host of Azure Functions and its runtime: hands each message to the runtime's functions.

The platform's own is not to be had as a package; the runtimes, which do the work, are. As there, each message is a task
of its own, and functions that are no coroutines run in the runtime's pool of threads.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import SimpleNamespace
from typing import Any

from tests.support.azure_host import protocol

ANSWERS = {
    "worker_init_request": "worker_init_response",
    "functions_metadata_request": "function_metadata_response",
    "function_load_request": "function_load_response",
    "invocation_request": "invocation_response",
}


async def main(address: str, runtime: Any) -> None:
    """Serve the host at that address."""
    import grpc.aio

    protos = protocol()
    runtime.start_threadpool_executor()
    answers: asyncio.Queue[Any] = asyncio.Queue()
    answers.put_nowait(protos.StreamingMessage(start_stream=protos.StartStream(worker_id="w")))

    async def out() -> Any:
        while True:
            yield await answers.get()

    async def handle(message: Any) -> None:
        kind = message.WhichOneof("content")
        request = SimpleNamespace(request=message, properties={"protos": protos, "host": "127.0.0.1"})
        answer = await getattr(runtime, kind)(request)
        await answers.put(protos.StreamingMessage(**{ANSWERS[kind]: answer}))

    async with grpc.aio.insecure_channel(address) as channel:
        tasks = set()
        async for message in protos.FunctionRpcStub(channel).EventStream(out()):
            tasks.add(asyncio.create_task(handle(message)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], importlib.import_module(sys.argv[2])))
