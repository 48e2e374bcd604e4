// All that is known of one span.

import type { ErrorItem, Log, Span, TraceDetail } from "../data/types";
import { LogLines } from "../parts/log_lines";
import { AttributeList, ErrorText, Fact, Facts, Id, Service, SessionLink, Time, TraceLink } from "../parts/text";
import { duration } from "../text/format";

/** Where a span is shown among those of its trace. */
export function spanUrl({ trace_id, span_id }: Pick<Span, "trace_id" | "span_id">): string {
  return `/traces/${encodeURIComponent(trace_id)}?span=${encodeURIComponent(span_id)}`;
}

export function SpanDetail({ span, trace }: { span: Span; trace: TraceDetail }) {
  const errors = trace.errors.filter(({ span_id }) => span_id === span.span_id);
  const logs = trace.logs.filter(({ span_id }) => span_id === span.span_id);
  const parent = trace.items.find(({ span_id }) => span_id === span.parent_id);
  return (
    <section class="span-detail" aria-label="The span">
      <h2>{span.name || "(no name)"}</h2>
      <Facts>
        <Fact name="Service">
          <Service name={span.service} />
        </Fact>
        <Fact name="Kind">{span.kind !== "unspecified" && span.kind}</Fact>
        <Fact name="Status">
          {span.status === "error" ? <span class="status bad">{span.status_message || "error"}</span> : span.status}
        </Fact>
        <Fact name="Duration">{duration(span.duration)}</Fact>
        <Fact name="Start">
          <Time at={span.start} /> <span class="faint">+{duration(span.start - trace.start)}</span>
        </Fact>
        <Fact name="Span">
          <Id value={span.span_id} />
        </Fact>
        <Fact name="Parent">
          {span.parent_id && (
            <>
              <Id value={span.parent_id} {...(parent && { to: spanUrl(parent) })} />
              {!parent && <span class="faint"> (it is not here)</span>}
            </>
          )}
        </Fact>
        <Fact name="Session">{span.session_id && <SessionLink id={span.session_id} at={span.start} />}</Fact>
        <Fact name="Request">{span.request_id && <Id value={span.request_id} />}</Fact>
      </Facts>
      <ErrorList errors={errors} />
      <Logs logs={logs} />
      <h3>Attributes</h3>
      <AttributeList of={span.attributes} empty="It has none." />
      {span.events.length > 0 && (
        <>
          <h3>Events</h3>
          {span.events.map((event, index) => (
            <details key={index}>
              <summary>
                {event.name} <span class="faint">+{duration(event.time - span.start)}</span>
              </summary>
              <AttributeList of={event.attributes} empty="It has no attributes." />
            </details>
          ))}
        </>
      )}
      {span.links.length > 0 && (
        <>
          <h3>Links</h3>
          {span.links.map((link, index) => (
            <SpanLink key={index} {...link} />
          ))}
        </>
      )}
      <details>
        <summary>Resource</summary>
        <AttributeList of={trace.resources[span.resource_id] ?? {}} empty="It has no attributes." />
      </details>
    </section>
  );
}

function SpanLink({ trace_id, span_id, attributes }: Span["links"][number]) {
  return (
    <>
      <p>
        <TraceLink id={trace_id} span={span_id} />
      </p>
      <AttributeList of={attributes} />
    </>
  );
}

/** Errors of a span or a trace. */
export function ErrorList({ errors }: { errors: ErrorItem[] }) {
  if (errors.length === 0) return null;
  return (
    <>
      <h3>Errors</h3>
      <ul class="error-list">
        {errors.map((error) => (
          <li key={error.id}>
            <ErrorText of={error} to={`/error/${error.id}`} />
          </li>
        ))}
      </ul>
    </>
  );
}

function Logs({ logs }: { logs: Log[] }) {
  if (logs.length === 0) return null;
  return (
    <>
      <h3>Logs</h3>
      <LogLines caption="The log records of this span" logs={logs} within="span" />
    </>
  );
}
