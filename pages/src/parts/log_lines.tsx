// Log records, each with its attributes on demand.

import { Fragment } from "preact";
import { useId, useState } from "preact/hooks";
import type { Log } from "../data/types";
import { AttributeList, Fact, Facts, Id, Level, Service, SessionLink, Time, TraceLink } from "./text";

interface LogLinesProps {
  /** What they are, for those who cannot see it. */
  caption: string;
  logs: Log[];
  /** Those of one trace, or one span, need not name it in each line. */
  within?: "trace" | "span";
  /** A moment among them, and what happened then; the records are in the order of their times. */
  moment?: { time: number; text: string };
}

export function LogLines({ caption, logs, within, moment }: LogLinesProps) {
  const after = moment ? logs.findIndex(({ time }) => time > moment.time) : -1;
  const columns = within === "span" ? 3 : within === "trace" ? 4 : 6;
  const mark = moment && (
    <tr class="instant">
      <td colSpan={columns}>
        <Time at={moment.time} /> <strong>{moment.text}</strong>
      </td>
    </tr>
  );
  return (
    <div class="scrolled">
      <table class="logs">
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Level</th>
            {within !== "span" && <th scope="col">Service</th>}
            <th scope="col" class="wide">
              Message
            </th>
            {!within && <th scope="col">Session</th>}
            {!within && <th scope="col">Trace</th>}
          </tr>
        </thead>
        <tbody>
          {logs.map((log, index) => (
            <Fragment key={log.id}>
              {index === after && mark}
              <Line log={log} within={within} columns={columns} />
            </Fragment>
          ))}
          {after < 0 && mark}
        </tbody>
      </table>
    </div>
  );
}

function Line({ log, within, columns }: { log: Log; within: LogLinesProps["within"]; columns: number }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <>
      <tr class={open ? "open" : ""}>
        <td>
          <button
            type="button"
            class="twist"
            aria-expanded={open}
            aria-controls={id}
            aria-label="Attributes"
            onClick={() => setOpen(!open)}
          >
            {open ? "▾" : "▸"}
          </button>
          <Time at={log.time} />
        </td>
        <td>
          <Level severity={log.severity} />
        </td>
        {within !== "span" && (
          <td>
            <Service name={log.service} />
          </td>
        )}
        <td class={`wide body ${open ? "whole" : ""}`}>
          <div>{log.body}</div>
        </td>
        {!within && (
          <td>
            <SessionLink id={log.session_id} at={log.time} />
          </td>
        )}
        {!within && (
          <td>
            <TraceLink id={log.trace_id} span={log.span_id} />
          </td>
        )}
      </tr>
      <tr id={id} class="detail" hidden={!open}>
        {open && (
          <td colSpan={columns}>
            <Facts>
              <Fact name="Logger">{log.logger && <code>{log.logger}</code>}</Fact>
              <Fact name="Session">{log.session_id && <SessionLink id={log.session_id} at={log.time} />}</Fact>
              <Fact name="Trace">{log.trace_id && <TraceLink id={log.trace_id} span={log.span_id} />}</Fact>
              <Fact name="Request">{log.request_id && <Id value={log.request_id} />}</Fact>
            </Facts>
            <AttributeList of={log.attributes} empty="It has no attributes." />
          </td>
        )}
      </tr>
    </>
  );
}
