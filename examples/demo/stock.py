"""The stock, a FastAPI service: its shelf has a hole."""

import logging

from fastapi import FastAPI

app = FastAPI()
log = logging.getLogger("stock")
SHELF = {7: "a lamp"}


@app.get("/items/{number}")
async def item(number: int):
    log.warning("looking for item %s", number)
    return {"item": SHELF[number]}
