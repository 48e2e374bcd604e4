"""gRPC: the warehouse looks the item up in the stock, by HTTP."""

import os
from concurrent import futures

import grpc
import httpx


def reserve(request, context):
    answer = httpx.get(f"{os.environ['STOCK']}/items/{request.decode()}")
    return f"the stock says {answer.status_code}".encode()


server = grpc.server(futures.ThreadPoolExecutor(4))
methods = {"Reserve": grpc.unary_unary_rpc_method_handler(reserve)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Warehouse", methods),))
server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
server.start()
server.wait_for_termination()
