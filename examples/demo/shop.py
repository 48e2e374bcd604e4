"""The shop, a Flask service: it asks the stock service for each order, and knows nothing of Highlight."""

import os

import requests
from flask import Flask, request
from flask_cors import CORS

app = Flask(__name__)
CORS(app, origins=os.environ["PAGE_URLS"].split(), methods=["POST"], allow_headers=["Content-Type"])


@app.post("/orders")
def order():
    item = request.get_json()["item"]
    app.logger.warning("an order of item %s: asking the stock", item)
    answer = requests.get(f"{os.environ['STOCK_URL']}/items/{item}", timeout=10)
    answer.raise_for_status()
    return answer.json()


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
