"""What highlight-local has of a browser's session, as lines: its requests, and in them what they have caused."""


def lines(local, session_id: str):
    session = local.api(f"sessions/{session_id}")
    yield f"\nsession {session_id}  {local.url}/sessions/{session_id}"
    yield f"  {session['url']}, {session['events']} events to replay"
    for request in local.api(f"sessions/{session_id}/network")["items"]:
        what = f"{request['method']} {request['url']}" if request["method"] else f"{request['kind']} {request['url']}"
        yield f"  {what}  {request['duration']:.1f} ms  {request['status'] or ''}".rstrip()
        for trace_id in request["traces"]:
            yield from of_trace(local.api(f"traces/{trace_id}"))
    for error in local.api(f"sessions/{session_id}/errors")["items"]:
        yield f"  ERROR {error['type']}: {error['message']}  [{error['service']}]  {local.url}/error/{error['id']}"


def of_trace(trace):
    known = {span["span_id"] for span in trace["items"]}
    for span in trace["items"]:
        if span["parent_id"] not in known:
            yield from of_span(span, trace, "    ")


def of_span(span, trace, indent: str):
    yield f"{indent}{span['kind']} {span['name']}  [{span['service']}]  {span['duration']:.1f} ms  {span['status']}"
    inside = indent + "  "
    for log in trace["logs"]:
        if log["span_id"] == span["span_id"]:
            yield f"{inside}log {log['severity']} {log['logger']}: {log['body'].strip().splitlines()[0]}"
    for error in trace["errors"]:
        if error["span_id"] == span["span_id"]:
            yield f"{inside}ERROR {error['type']}: {error['message']}"
    for child in trace["items"]:
        if child["parent_id"] == span["span_id"]:
            yield from of_span(child, trace, inside)
