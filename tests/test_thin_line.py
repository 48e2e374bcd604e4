"""A request with the header goes through Flask; its span, its logs and its error arrive with the session."""

from __future__ import annotations

APP = """
import logging, os
from flask import Flask

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True

@app.get("/orders/<int:number>")
def order(number):
    app.logger.warning("looking for %s", number)
    if number == 13:
        raise LookupError("no such order")
    return "found"

app.run(port=int(os.environ["PORT"]))
"""


def test_a_request_is_a_span_with_its_session(run_service, receiver):
    service = run_service("python app.py", files={"app.py": APP})

    assert service.get("/orders/1", {"x-highlight-request": "session1/request1"}).text == "found"
    assert service.get("/orders/2").text == "found"
    assert service.get("/orders/13", {"x-highlight-request": "session2/request2"}).status == 500

    receiver.wait(spans=3, logs=4, errors=1)
    assert [(span.name, span.kind, span.session, span.highlight_trace, span.status) for span in receiver.spans] == [
        ("GET /orders/<int:number>", "SERVER", "session1", "request1", "UNSET"),
        ("GET /orders/<int:number>", "SERVER", None, None, "UNSET"),
        ("GET /orders/<int:number>", "SERVER", "session2", "request2", "ERROR"),
    ]
    assert [(log.severity_text, log.body, log.session) for log in receiver.logs] == [
        ("WARN", "looking for 1", "session1"),
        ("WARN", "looking for 2", None),
        ("WARN", "looking for 13", "session2"),
        ("ERROR", "Exception on /orders/13 [GET]", "session2"),
    ]
    assert [(error.type, error.message, error.session, error.highlight_trace) for error in receiver.errors] == [
        ("LookupError", "no such order", "session2", "request2")
    ]
