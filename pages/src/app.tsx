// The frame around each view, and which view a URL shows.

import { LocationProvider, Route, Router, useLocation } from "preact-iso";
import { useLiveState } from "./data/live";
import { ErrorView } from "./views/error";
import { GroupView } from "./views/error_group";
import { ErrorsView } from "./views/errors";
import { LogsView } from "./views/logs";
import { NotFound } from "./views/not_found";
import { SessionView } from "./views/session";
import { SessionsView } from "./views/sessions";
import { TraceView } from "./views/trace";
import { TracesView } from "./views/traces";

const PLACES = [
  { path: "/errors", name: "Errors", also: "/error/" },
  { path: "/sessions", name: "Sessions", also: "/sessions/" },
  { path: "/traces", name: "Traces", also: "/traces/" },
  { path: "/logs", name: "Logs", also: "/logs/" },
];

export function App() {
  return (
    <LocationProvider>
      <Frame />
    </LocationProvider>
  );
}

function Frame() {
  return (
    <>
      <button type="button" class="skip" onClick={toMain}>
        To the content
      </button>
      <header class="frame">
        <a class="brand" href="/errors">
          highlight-local
        </a>
        <Navigation />
        <Live />
      </header>
      <main id="main" tabIndex={-1}>
        <Router onRouteChange={toMain}>
          <Route path="/" component={ErrorsView} />
          <Route path="/errors" component={ErrorsView} />
          <Route path="/errors/:id" component={GroupView} />
          <Route path="/error/:id" component={ErrorView} />
          <Route path="/sessions" component={SessionsView} />
          <Route path="/sessions/:id" component={SessionView} />
          <Route path="/traces" component={TracesView} />
          <Route path="/traces/:id" component={TraceView} />
          <Route path="/logs" component={LogsView} />
          <Route default component={NotFound} />
        </Router>
      </main>
    </>
  );
}

function Navigation() {
  const { path } = useLocation();
  return (
    <nav aria-label="Main">
      <ul>
        {PLACES.map(({ path: to, name, also }) => {
          const here =
            path === to || path.startsWith(also) || path.startsWith(`${to}/`) || (path === "/" && to === "/errors");
          return (
            <li key={to}>
              <a href={to} aria-current={here ? "page" : undefined}>
                {name}
              </a>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}

const LIVE = {
  live: { text: "live", title: "What comes is shown at once" },
  waiting: { text: "waiting", title: "highlight-local cannot be reached; it is tried again" },
  off: { text: "", title: "" },
};

function Live() {
  const state = useLiveState();
  const { text, title } = LIVE[state];
  return (
    <p class={`live ${state}`} role="status" title={title}>
      {text}
    </p>
  );
}

/** Whoever reads by ear or by keyboard is at the content of the new page, not where the last link was. */
function toMain(): void {
  document.getElementById("main")?.focus({ preventScroll: true });
}
