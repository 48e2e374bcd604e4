"""One error as one HTML file: its view, and the API's answers that the view asks for. The file loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import sqlite3
import time
from typing import Any
from urllib.parse import quote

from . import api, queries, schema
from .bodies import to_json
from .pages import FOLDER, NOT_BUILT

MOST_REPLAY = 20_000_000  # bytes of JSON; a longer replay is cut to what is around the error
_AS_IN_JAVASCRIPT = "!'()*"  # what encodeURIComponent leaves alone, besides what Python's quote does

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This file needs JavaScript to be read; it asks nobody for anything.</noscript>
<div id="app" data-error="{error}" data-time="{time}"></div>
<script type="application/json" id="answers">{answers}</script>
<script type="module">{script}</script>
</body>
</html>
"""
# Styles stand in a replay's elements, wherever they come from; of scripts there is one.
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
    " base-uri 'none'; form-action 'none'"
)


class ExportError(Exception):
    """There is no file; the text is one line for its user."""


def page(database: str, error_id: int) -> str:
    """The file's text."""
    script, style = (_built(name) for name in ("export.js", "export.css"))
    answers = _read(database, error_id)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    error = answers[f"/api/error/{error_id}"]
    return _PAGE.format(
        policy=_POLICY.format(script=f"sha256-{digest}"),
        title=html.escape(f"{error['type']}: {error['message'][:100]}"),
        style=style,
        error=error_id,
        time=int(time.time() * 1000),
        answers=to_json(answers).replace("<", "\\u003c"),  # no text of a stranger ends the element
        script=script,
    )


def _built(name: str) -> str:
    try:
        with open(os.path.join(FOLDER, "export", name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise ExportError(NOT_BUILT) from None


def _read(database: str, error_id: int) -> dict[str, Any]:
    """What the view of an error asks for, by the paths that it asks; all of one moment, whoever writes meanwhile."""
    if not os.path.isfile(database):
        raise ExportError(f"{database}: there is no such database; name it with --db")
    try:
        connection = schema.open_for_reading(database)
        try:
            schema.check(connection)
            connection.execute("BEGIN")
            return _answers(connection, error_id)
        finally:
            connection.close()
    except (sqlite3.Error, schema.SchemaError) as error:
        raise ExportError(f"{database}: {error}") from None


def _answers(connection: sqlite3.Connection, error_id: int) -> dict[str, Any]:
    path = f"/api/error/{error_id}"
    error = api.answer(connection, path)
    if error is None:
        raise ExportError(f"there is no error {error_id}, or it was too old to be kept")
    answers = {path: error}
    if error["trace_id"] is not None:
        path = f"/api/traces/{quote(error['trace_id'], safe=_AS_IN_JAVASCRIPT)}"
        trace = api.answer(connection, path)
        if trace is not None:
            answers[path] = trace
    if error["moment"] is not None:
        path = f"/api/sessions/{quote(error['session_id'], safe=_AS_IN_JAVASCRIPT)}/events"
        chunks = queries.replay_around(connection, error["session_id"], error["time"], MOST_REPLAY)
        answers[path] = [event for chunk in chunks for event in json.loads(chunk)]
    return answers
