"""The page's own origin, which could be any web server: the built files, and where the services are."""

import os

from flask import Flask

app = Flask(__name__, static_folder=os.environ["PAGE_FILES"], static_url_path="")


@app.get("/")
def page():
    return app.send_static_file("index.html")


@app.get("/settings.json")
def settings():
    """Known only when they run; without HIGHLIGHT_URL the page has no Highlight."""
    return {"shop": os.environ["SHOP_URL"], "highlight": os.environ.get("HIGHLIGHT_URL")}


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
