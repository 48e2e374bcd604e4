"""Starlette: a page, a stream, a websocket, and tasks in the background."""

import asyncio
import logging

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

log = logging.getLogger("starlette_app")


async def order(request):
    number = request.path_params["number"]
    log.warning("order %s", number)
    if number > 1000:
        raise KeyError(number)
    return JSONResponse({"order": number}, background=BackgroundTask(later, number))


async def later(number):
    log.warning("after order %s", number)


async def stream(request):
    async def rows():
        for row in range(3):
            log.warning("row %s", row)
            yield f"{row}\n"
            await asyncio.sleep(0)

    return StreamingResponse(rows(), media_type="text/plain")


async def echo(websocket):
    await websocket.accept()
    text = await websocket.receive_text()
    log.warning("heard %s", text)
    await websocket.send_text(f"heard {text}")
    await websocket.close()


routes = [Route("/orders/{number:int}", order), Route("/stream", stream), WebSocketRoute("/echo", echo)]
app = Starlette(routes=[Mount("/shop", routes=routes)])
