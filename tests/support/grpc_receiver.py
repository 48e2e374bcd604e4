"""The OTLP receiver over gRPC."""

from __future__ import annotations

from concurrent import futures
from typing import Any

import grpc

from .receiver import Received


class GrpcReceiver(Received):
    """A receiver like the one for HTTP; `metadata` holds what came with each export."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        super().__init__()
        self.metadata: list[dict[str, str]] = []
        self._workers = futures.ThreadPoolExecutor(4)
        self._server = grpc.server(self._workers)
        for signal, service in (
            ("traces", "opentelemetry.proto.collector.trace.v1.TraceService"),
            ("logs", "opentelemetry.proto.collector.logs.v1.LogsService"),
            ("metrics", "opentelemetry.proto.collector.metrics.v1.MetricsService"),
        ):
            handler = grpc.unary_unary_rpc_method_handler(self._handler(signal))  # bytes in, bytes out
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
            self.url = f"https://127.0.0.1:{self.port}"
        self._server.start()

    def _handler(self, signal: str) -> Any:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            self.metadata.append(dict(context.invocation_metadata()))
            if not self.add(signal, body):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not OTLP")
            return b""

        return export

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(None).wait()
        self._workers.shutdown()
