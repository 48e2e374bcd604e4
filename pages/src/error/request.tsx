// The request, or the message of a queue, in whose service the error happened.

import type { Span } from "../data/types";
import { AttributeList, Fact, Facts, Link, Service, Status } from "../parts/text";
import { duration, shown } from "../text/format";
import { spanUrl } from "../trace/span_detail";

export function Request({ span }: { span: Span }) {
  // By the names of today, and those of before that many still send.
  const known = (...names: string[]) => {
    const value = names.map((name) => span.attributes[name]).find((one) => one !== undefined && one !== "");
    return value === undefined ? null : shown(value);
  };
  const method = known("http.request.method", "http.method");
  const path = known("url.path", "http.target");
  const query = known("url.query");
  const url = known("url.full", "http.url") ?? (path && query ? `${path}?${query}` : path);
  const status = Number(known("http.response.status_code", "http.status_code"));
  return (
    <>
      <p class="request-line">
        <Link to={spanUrl(span)}>{method && url ? `${method} ${url}` : span.name || "(no name)"}</Link>
      </p>
      <Facts>
        <Fact name="Status">
          {status ? (
            <Status status={status} />
          ) : (
            span.status === "error" && <span class="status bad">{span.status_message || "error"}</span>
          )}
        </Fact>
        <Fact name="Route">{known("http.route") && <code>{known("http.route")}</code>}</Fact>
        <Fact name="Queue">{known("messaging.destination.name", "messaging.destination")}</Fact>
        <Fact name="Duration">{duration(span.duration)}</Fact>
        <Fact name="Service">
          <Service name={span.service} />
        </Fact>
        <Fact name="Client">{known("client.address", "http.client_ip")}</Fact>
      </Facts>
      <details>
        <summary>All attributes of the request</summary>
        <AttributeList of={span.attributes} empty="It has none." />
      </details>
    </>
  );
}
