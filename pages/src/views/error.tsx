// One error with all around it: where it was raised, the request, the logs, the trace, and what its user saw.

import { useMemo, useState } from "preact/hooks";
import { api, isExported } from "../data/source";
import type { ErrorDetail, ErrorGroup, Span, TraceDetail } from "../data/types";
import { useAnswer } from "../data/use";
import "../error/error.css";
import { Request } from "../error/request";
import { Traceback } from "../error/traceback";
import { LogLines } from "../parts/log_lines";
import { Instead, Section, Title } from "../parts/page";
import { AttributeList, Fact, Facts, Place, Service, SessionLink, Time, TraceLink } from "../parts/text";
import type { Mark } from "../replay/marks";
import { Replay } from "../replay/replay";
import { count } from "../text/format";
import { SpanDetail, spanUrl } from "../trace/span_detail";
import { useTrace } from "../trace/use";
import { Waterfall } from "../trace/waterfall";

export function ErrorView({ id = "" }: { id?: string }) {
  const answer = useAnswer<ErrorDetail>(api(`error/${encodeURIComponent(id)}`), {
    kinds: ["errors", "spans", "logs", "chunks"],
  });
  const error = answer.value;
  if (error) return <Whole key={error.id} error={error} />;
  return (
    <>
      <Title name="Error" />
      <Instead answer={answer} />
    </>
  );
}

function Whole({ error }: { error: ErrorDetail }) {
  const trace = useTrace(error.trace_id);
  return (
    <>
      <Title name={`${error.type}: ${error.message.slice(0, 100)}`}>
        <span class="error-title">
          <span class="type">{error.type}</span> <span class="message">{error.message}</span>
        </span>
      </Title>
      <Place of={error} />
      <Facts>
        <Fact name="Time">
          <Time at={error.time} />
        </Fact>
        <Fact name="Service">{error.service && <Service name={error.service} />}</Fact>
        <Fact name="Session">{error.session_id && <SessionLink id={error.session_id} at={error.time} />}</Fact>
        <Fact name="Trace">{error.trace_id && <TraceLink id={error.trace_id} span={error.span_id} />}</Fact>
        <Fact name="URL">{error.url && <code>{error.url}</code>}</Fact>
      </Facts>
      {!isExported && <Neighbours error={error} />}
      <div class={`error-columns ${error.moment ? "two" : ""}`}>
        <div>
          <Section title="Traceback">
            <Traceback error={error} />
          </Section>
          {error.request && (
            <Section title="Request">
              <Request span={error.request} />
            </Section>
          )}
        </div>
        <div class="seen">
          <Seen error={error} />
        </div>
      </div>
      {error.logs.length > 0 && (
        <Section title="Logs around it">
          <LogLines
            caption="The log records around the error, the oldest first"
            logs={error.logs}
            {...(error.trace_id && { within: "trace" })}
            moment={{ time: error.time, text: `${error.type}: ${error.message.slice(0, 300)}` }}
          />
        </Section>
      )}
      {error.trace_id && (
        <Section title="Trace">
          {trace.value ? <Around error={error} trace={trace.value} /> : <Instead answer={trace} />}
        </Section>
      )}
      <Section title="Attributes">
        <AttributeList of={error.attributes} empty="It has none." />
        <details>
          <summary>Resource</summary>
          <AttributeList of={error.resource} empty="It has no attributes." />
        </details>
      </Section>
    </>
  );
}

/** The way to others of its kind. */
function Neighbours({ error }: { error: ErrorDetail }) {
  const to = `/errors/${error.group_id}`;
  const group = useAnswer<ErrorGroup>(api(to.slice(1)), { kinds: ["errors"] }).value;
  return (
    <nav class="neighbours" aria-label="Errors of this group">
      <Step to={error.previous}>← Earlier</Step>
      <Step to={error.following}>Later →</Step>
      <a href={to}>{group && group.count > 1 ? `All ${count(group.count)} of this group` : "Its group"}</a>
    </nav>
  );
}

function Step({ to, children }: { to: number | null; children: string }) {
  return to === null ? <span class="faint">{children}</span> : <a href={`/error/${to}`}>{children}</a>;
}

/** What the user saw when the request was sent. */
function Seen({ error }: { error: ErrorDetail }) {
  const marks = useMemo(() => marksOf(error), [error]);
  if (!error.session_id) return null;
  const at = error.request?.start ?? error.time;
  return (
    <Section title="What the user saw">
      {error.moment ? (
        <Replay session={error.session_id} at={at} marks={marks} small>
          <SessionMoment id={error.session_id} at={at} />
        </Replay>
      ) : (
        <p class="faint">Nothing of this session's page has been recorded.</p>
      )}
    </Section>
  );
}

function marksOf({ request, time, type }: ErrorDetail): Mark[] {
  const failed: Mark = { lane: "Errors", time, label: type, bad: true };
  return request ? [{ lane: "Requests", time: request.start, label: request.name }, failed] : [failed];
}

function SessionMoment({ id, at }: { id: string; at: number }) {
  return isExported ? null : <a href={`/sessions/${encodeURIComponent(id)}?at=${Math.round(at)}`}>The whole session</a>;
}

function Around({ error, trace }: { error: ErrorDetail; trace: TraceDetail }) {
  const [chosen, choose] = useState<Span | null>(null);
  const selected = chosen?.span_id ?? error.span_id;
  // An exported file has no view of the trace; there a span is shown below it.
  return isExported ? (
    <>
      <Waterfall trace={trace} selected={selected} onSelect={choose} />
      {chosen && <SpanDetail span={chosen} trace={trace} />}
    </>
  ) : (
    <Waterfall trace={trace} selected={selected} to={spanUrl} />
  );
}
