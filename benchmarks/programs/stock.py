"""A FastAPI application with one route."""

import time

import fastapi

app = fastapi.FastAPI()


@app.get("/orders/{number}")
async def order(number: int):
    return {"order": number, "state": "sent"}


@app.get("/cpu")
def cpu():
    return time.process_time_ns()
