"""What a receiver got, printed as a tree: each session's spans, and in them their logs and errors."""


def show(receiver) -> None:
    for session in dict.fromkeys(span.session for span in receiver.spans):
        print(f"\nsession {session}")
        spans = [span for span in receiver.spans if span.session == session]
        for span in spans:
            if span.parent_id not in {other.span_id for other in spans}:
                show_span(span, spans, receiver, "  ")


def show_span(span, spans, receiver, indent: str) -> None:
    milliseconds = (span.end_ns - span.start_ns) / 1e6
    print(f"{indent}{span.kind.lower()} {span.name}  [{span.service}]  {milliseconds:.1f} ms  {span.status}")
    inside = indent + "  "
    for log in receiver.logs:
        if log.span_id == span.span_id:
            print(f"{inside}log {log.severity_text} {log.logger}: {log.body.strip()}")
    for error in receiver.errors:
        if error.record.span_id == span.span_id:
            print(f"{inside}ERROR {error.type}: {error.message}  (session {error.session})")
    for child in spans:
        if child.parent_id == span.span_id:
            show_span(child, spans, receiver, inside)
