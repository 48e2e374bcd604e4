"""gRPC: a service that asks itself, by a channel of its own."""

import logging
import os
from concurrent import futures

import grpc

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
logging.raiseExceptions = False
log = logging.getLogger("grpc_app")
address = f"127.0.0.1:{os.environ['PORT']}"


def item(request, context):
    log.warning("item %s", request.decode())
    context.set_trailing_metadata((("shelf", "3"),))
    if int(request) > 1000:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
    return b"a lamp"


def items(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def order(request, context):
    answer, call = reserve.with_call(request, timeout=20, metadata=(("x-own", "1"),))
    log.warning("the item is %s, on shelf %s", answer.decode(), dict(call.trailing_metadata())["shelf"])
    return answer + b", " + b"".join(count(b"3", timeout=20))


server = grpc.server(futures.ThreadPoolExecutor(4))
methods = {
    "Item": grpc.unary_unary_rpc_method_handler(item),
    "Items": grpc.unary_stream_rpc_method_handler(items),
    "Order": grpc.unary_unary_rpc_method_handler(order),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Shop", methods),))
server.add_insecure_port(address)
channel = grpc.insecure_channel(address)
reserve = channel.unary_unary("/Shop/Item")
count = channel.unary_stream("/Shop/Items")
server.start()
server.wait_for_termination()
