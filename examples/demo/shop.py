"""The shop, a Flask service: it asks the stock service for each order, and knows nothing of Highlight."""

import os

import requests
from flask import Flask

app = Flask(__name__)


@app.get("/orders/<int:number>")
def order(number):
    app.logger.warning("order %s: asking the stock", number)
    answer = requests.get(f"{os.environ['STOCK_URL']}/items/{number}", timeout=10)
    answer.raise_for_status()
    return answer.json()


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
