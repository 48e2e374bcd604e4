// Requests of a session's pages, with what they caused in the services.

import { useState } from "preact/hooks";
import { api } from "../data/source";
import type { Attributes, NetworkItem, NetworkRecord } from "../data/types";
import { useAnswer } from "../data/use";
import { counted, duration, shortUrl } from "../text/format";
import { Instead } from "./page";
import { AttributeList, ErrorText, Status, TraceLink } from "./text";

/** Whether its answer is known: not of what a page loads by itself, or before the client is there. */
function isWatched({ method, status }: NetworkItem): boolean {
  return Boolean(method || status);
}

/** Whether it went wrong, for the browser or behind it. */
export function hasFailed(of: NetworkItem): boolean {
  const { status, errors } = of;
  return (isWatched(of) && (!status || status >= 400)) || errors.length > 0;
}

export function requestName({ method, kind, url }: Pick<NetworkItem, "method" | "kind" | "url">): string {
  return `${method || kind} ${shortUrl(url)}`;
}

export function RequestRow({ of, session }: { of: NetworkItem; session: string }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <div class="network-request">
        <span class="request-name" title={of.url}>
          <strong>{of.method || of.kind}</strong> {shortUrl(of.url)}
        </span>
        {isWatched(of) && <Status status={of.status} />}
        <span class="number">{duration(of.duration)}</span>
        <button
          type="button"
          aria-expanded={open}
          aria-label={`Details of ${requestName(of)}`}
          onClick={() => setOpen(!open)}
        >
          {open ? "−" : "+"}
        </button>
      </div>
      {of.errors.map((error) => (
        <div key={error.id} class="caused">
          <ErrorText of={error} to={`/error/${error.id}`} />
        </div>
      ))}
      {of.traces.map((trace) => (
        <div key={trace} class="caused">
          Trace <TraceLink id={trace} />{" "}
          {of.logs > 0 && <a href={`/logs?trace=${encodeURIComponent(trace)}`}>{counted(of.logs, "log record")}</a>}
        </div>
      ))}
      {open && <RequestDetails id={of.id} session={session} />}
    </>
  );
}

/** What the browser's client recorded of it. */
function RequestDetails({ id, session }: { id: number; session: string }) {
  const answer = useAnswer<NetworkRecord>(api(`sessions/${encodeURIComponent(session)}/network/${id}`));
  if (!answer.value) return <Instead answer={answer} />;
  const { requestResponsePairs: pair, ...rest } = answer.value.data;
  const { request, response } = attributesOf(pair);
  return (
    <div class="recorded">
      {pair !== undefined && (
        <>
          <Message name="Request" of={attributesOf(request)} />
          <Message name="Response" of={attributesOf(response)} />
        </>
      )}
      <h3>As the browser measured it</h3>
      <AttributeList of={rest} />
    </div>
  );
}

function Message({ name, of }: { name: string; of: Attributes }) {
  const { headers, body, ...rest } = of;
  return (
    <>
      <h3>{name}</h3>
      <AttributeList of={rest} />
      <h4>Headers</h4>
      <AttributeList of={attributesOf(headers)} empty="None was recorded." />
      <h4>Body</h4>
      {body ? <pre class="body">{pretty(body)}</pre> : <p class="faint">None was recorded.</p>}
    </>
  );
}

function attributesOf(value: unknown): Attributes {
  return typeof value === "object" && value !== null ? (value as Attributes) : {};
}

/** JSON with its structure, anything else as it is. */
function pretty(body: unknown): string {
  if (typeof body !== "string") return JSON.stringify(body, null, 2);
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}
