"""A stand-in for the host of Azure Functions: a worker connects to it by gRPC, is told of functions, and invokes them.

It runs as a program of its own, in the environment that has the protocol: this file is that program as well.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.services import wait_until


class AzureHost:
    """The host; what it says, and what it is answered, are the protocol's StreamingMessages as JSON."""

    def __init__(self, python: str) -> None:
        root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [
                python,
                "-c",
                f"import sys; sys.path.insert(0, {root!r}); import tests.support.azure_host as it; it.main()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.port = json.loads(self._stdout.readline())["port"]
        self._answers: list[dict[str, Any]] = []
        self._number = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._stdout:
            self._answers.append(json.loads(line))

    def tell(self, **message: Any) -> None:
        """Send a message to the worker."""
        self._stdin.write(json.dumps(message) + "\n")
        self._stdin.flush()

    def answer(self, kind: str, **of: Any) -> dict[str, Any]:
        """Wait for an answer of the worker's."""

        def found() -> list[dict[str, Any]]:
            answers = [message[kind] for message in self._answers if kind in message]
            return [answer for answer in answers if all(answer.get(key) == value for key, value in of.items())]

        wait_until(found, what=f"for {kind}")
        return found()[0]

    def load(self, folder: Path) -> None:
        """Have the worker load the functions of a folder, of either programming model."""
        self.answer("start_stream")
        self.tell(worker_init_request={"function_app_directory": str(folder), "host_version": "4"})
        started = self.answer("worker_init_response")
        self.worker_url = started["capabilities"].get("HttpUri", "")
        assert "exception" not in started["result"], started
        functions = [file.parent for file in sorted(folder.glob("*/function.json"))]
        if not functions:
            self.tell(functions_metadata_request={"function_app_directory": str(folder)})
            found = self.answer("function_metadata_response")["function_metadata_results"]
        else:
            found = [_of_file(function) for function in functions]
        for metadata in found:
            function = metadata.get("function_id") or metadata["name"]
            self.tell(function_load_request={"function_id": function, "metadata": metadata})
            self.answer("function_load_response", function_id=function)
        self.functions = {metadata["name"]: metadata.get("function_id") or metadata["name"] for metadata in found}

    def start(self, name: str, data: dict[str, Any], parameter: str = "req", **more: Any) -> str:
        """Have a function invoked; gives the id of that."""
        self._number += 1
        invocation = f"invocation-{self._number}"
        self.tell(
            invocation_request={
                "invocation_id": invocation,
                "function_id": self.functions[name],
                "input_data": [{"name": parameter, "data": data}],
                **more,
            }
        )
        return invocation

    def invoke(self, name: str, data: dict[str, Any], parameter: str = "req", **more: Any) -> dict[str, Any]:
        """Have a function invoked, and wait for its answer."""
        return self.answer("invocation_response", invocation_id=self.start(name, data, parameter, **more))

    def close(self) -> None:
        """Stop."""
        self._stdin.close()
        self._process.wait(10)
        self._thread.join()
        self._stdout.close()


def _of_file(function: Path) -> dict[str, Any]:
    """What the host says of a function that has a file of settings."""
    bindings = json.loads((function / "function.json").read_text())["bindings"]
    return {
        "name": function.name,
        "directory": str(function),
        "script_file": str(function / "__init__.py"),
        "raw_bindings": [json.dumps(binding) for binding in bindings],
        "bindings": {
            binding["name"]: {"type": binding["type"], "direction": binding["direction"]} for binding in bindings
        },
    }


def protocol() -> Any:
    """The messages, which come with the runtime's own tests; to be called in the environment that has them."""
    import sysconfig

    sys.path.insert(0, f"{sysconfig.get_path('purelib')}/tests")
    import protos

    return protos


def main() -> None:
    """Be the host: take what to send from the standard input, and write what comes to the standard output."""
    import grpc
    from google.protobuf import json_format

    protos = protocol()
    orders: queue.Queue[str] = queue.Queue()

    class Host(protos.FunctionRpcServicer):  # type: ignore[name-defined,misc]
        def EventStream(self, messages: Any, _: Any) -> Any:
            def note() -> None:
                for message in messages:
                    if message.WhichOneof("content") != "rpc_log":
                        text = json_format.MessageToDict(message, preserving_proto_field_name=True)
                        print(json.dumps(text), flush=True)

            threading.Thread(target=note, daemon=True).start()
            while True:
                yield json_format.Parse(orders.get(), protos.StreamingMessage())

    server = grpc.server(ThreadPoolExecutor(2))
    protos.add_FunctionRpcServicer_to_server(Host(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        orders.put(line)
    import os

    os._exit(0)  # whatever the worker is still waiting for
