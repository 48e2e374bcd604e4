"""aiohttp: a server that asks itself, with its own client."""

import asyncio
import logging
import os

import aiohttp
from aiohttp import web

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
log = logging.getLogger("aiohttp_app")
PORT = int(os.environ["PORT"])


async def item(request):
    number = int(request.match_info["number"])
    log.warning("item %s", number)
    if number > 1000:
        raise KeyError(number)
    return web.json_response({"item": number})


async def order(request):
    url = f"http://127.0.0.1:{PORT}/items/{request.match_info['number']}"
    async with request.app["client"].get(url) as answer:
        task = asyncio.create_task(note(answer.status))
        text = await answer.text()
    await task
    return web.Response(text=text, status=answer.status)


async def note(status):
    log.warning("the item's status is %s", status)


async def client(app):
    async with aiohttp.ClientSession() as app["client"]:
        yield


app = web.Application()
app.cleanup_ctx.append(client)
app.add_routes([web.get("/items/{number}", item), web.get("/orders/{number}", order)])
web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None)
