"""A receiver of OTLP over gRPC, for highlight-io, in whose environment it runs: it hands all to the sink.

    python sink_grpc.py PORT_OF_THE_SINK

It prints its port, and answers once the sink has what came.
"""

import http.client
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

SERVICES = {"Trace": "/v1/traces", "Logs": "/v1/logs", "Metrics": "/v1/metrics"}
sink_port = int(sys.argv[1])


class Receiver(grpc.GenericRpcHandler):
    """Takes every method: the bytes of a message are those that HTTP carries."""

    def service(self, details):
        service = details.method.split("/")[1].rpartition(".")[2].removesuffix("Service")

        def receive(body, context):
            connection = http.client.HTTPConnection("127.0.0.1", sink_port)
            connection.request("POST", SERVICES[service], body)
            connection.getresponse().read()
            connection.close()
            return b""

        return grpc.unary_unary_rpc_method_handler(receive)


server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers([Receiver()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
