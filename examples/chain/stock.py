"""FastAPI: the stock, which does not have everything."""

from fastapi import FastAPI

app = FastAPI()
items = {7: "a lamp"}


@app.get("/items/{number}")
def item(number: int) -> str:
    return items[number]
