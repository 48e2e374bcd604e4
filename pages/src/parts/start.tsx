// What to do where there is nothing yet.

import { api } from "../data/source";
import type { State } from "../data/types";
import { useAnswer } from "../data/use";
import { Copy } from "./text";

/** What connects a page with this server, as the browser client's documentation has it. */
function snippet(server: string): string {
  return `import { H } from "highlight.run";

H.init("1", {
  backendUrl: "${server}/public",
  otlpEndpoint: "${server}",
  // Where the page's requests go: regular expressions, or true for the page's own host.
  tracingOrigins: ["localhost:8000", true],
  networkRecording: { enabled: true, recordHeadersAndBody: true },
});`;
}

/** How to send something here: what is missing of both, a page and a backend. */
export function Start() {
  const state = useAnswer<State>(api("state"), { kinds: ["sessions", "spans", "logs", "errors"] }).value;
  if (!state) return null;
  const server = location.origin;
  const backend = state.spans + state.logs + state.errors > 0;
  return (
    <>
      {!backend && (
        <section class="start">
          <h2>No service has sent anything yet</h2>
          <p>Start yours with this, as you start it otherwise:</p>
          <Command text={`highlight-run --local python app.py`} />
          <p>
            A service in another language sends OTLP over HTTP to <code>{server}</code> (<code>/v1/traces</code>,{" "}
            <code>/v1/logs</code>).
          </p>
        </section>
      )}
      {state.sessions === 0 && (
        <section class="start">
          <h2>No browser session has been seen yet</h2>
          <p>
            Add Highlight's client to the page (<code>npm install highlight.run</code>), with these options:
          </p>
          <Command text={snippet(server)} />
          <p class="faint">
            Without both of <code>enabled</code> and <code>recordHeadersAndBody</code> the page's requests carry no
            header, and nothing joins them to your backend's errors.
          </p>
        </section>
      )}
    </>
  );
}

function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <pre>{text}</pre>
      <Copy text={text} />
    </div>
  );
}
