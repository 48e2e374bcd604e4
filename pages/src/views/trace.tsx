// A trace: its spans as a waterfall, and one of them in detail.

import type { TraceDetail } from "../data/types";
import { useParameters } from "../parts/filters";
import { LogLines } from "../parts/log_lines";
import { Instead, Section, Title } from "../parts/page";
import { Fact, Facts, Id, Link, SessionLink, Time } from "../parts/text";
import { counted, duration, shortUrl } from "../text/format";
import { ErrorList, SpanDetail, spanUrl } from "../trace/span_detail";
import { rowsOf } from "../trace/tree";
import { useTrace } from "../trace/use";
import { Waterfall } from "../trace/waterfall";

export function TraceView({ id = "" }: { id?: string }) {
  const answer = useTrace(id);
  const trace = answer.value;
  return (
    <>
      <Title name={trace?.name || "Trace"} />
      {trace ? <Whole trace={trace} /> : <Instead answer={answer} />}
    </>
  );
}

function Whole({ trace }: { trace: TraceDetail }) {
  const [{ span: wanted }] = useParameters();
  const span = trace.items.find(({ span_id }) => span_id === wanted) ?? rowsOf(trace.items)[0]?.span;
  const unplaced = trace.errors.filter(({ span_id }) => !trace.items.some((item) => item.span_id === span_id));
  return (
    <>
      <Facts>
        <Fact name="Trace">
          <Id value={trace.trace_id} />
        </Fact>
        <Fact name="Start">
          <Time at={trace.start} />
        </Fact>
        <Fact name="Duration">{duration(trace.duration)}</Fact>
        <Fact name="Spans">{trace.spans}</Fact>
        <Fact name="Failed">{trace.failed ? <span class="status bad">{trace.failed}</span> : null}</Fact>
        <Fact name="Session">{trace.session_id && <SessionLink id={trace.session_id} at={trace.start} />}</Fact>
        <Fact name="Logs">
          {trace.logs.length > 0 && (
            <Link to={`/logs?trace=${encodeURIComponent(trace.trace_id)}`}>
              {counted(trace.logs.length, "record")}
              {trace.more_logs && " and more"}
            </Link>
          )}
        </Fact>
        <Fact name="Browser">
          {trace.requests.length > 0 &&
            trace.requests.map((request) => (
              <Link
                key={request.id}
                to={`/sessions/${encodeURIComponent(request.session_id)}?at=${Math.round(trace.start)}`}
                title={request.url}
              >
                {request.method} {shortUrl(request.url)}
              </Link>
            ))}
        </Fact>
      </Facts>
      <div class="trace-columns">
        <Waterfall trace={trace} selected={span?.span_id ?? null} to={spanUrl} />
        {span && <SpanDetail key={span.span_id} span={span} trace={trace} />}
      </div>
      <ErrorList errors={unplaced} />
      {trace.logs.length > 0 && (
        <Section title="Logs">
          <LogLines caption="The trace's log records, the oldest first" logs={trace.logs} within="trace" />
        </Section>
      )}
    </>
  );
}
