// The server says what kind of thing has come; whoever shows such a thing asks again.

import { useEffect, useState } from "preact/hooks";
import { isExported } from "./source";
import type { Told } from "./types";

export type LiveState = "live" | "waiting" | "off";
type Listener = (told: Told | null) => void;

const listeners = new Set<Listener>();
const watchers = new Set<(state: LiveState) => void>();
let stream: EventSource | null = null;
let state: LiveState = isExported ? "off" : "waiting";

function become(next: LiveState): void {
  state = next;
  for (const watcher of watchers) watcher(state);
}

function tell(told: Told | null): void {
  for (const listener of listeners) listener(told);
}

function open(): void {
  if (stream || isExported || document.hidden) return;
  stream = new EventSource("/api/live");
  stream.onopen = () => {
    become("live");
    tell(null); // something may have come meanwhile, also between the first answers and this
  };
  stream.onerror = () => {
    become("waiting");
    if (stream?.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(open, 2000);
    }
  };
  stream.onmessage = (event) => tell(JSON.parse(event.data));
}

// A browser has six connections to a server, for all of its tabs: one that nobody looks at holds none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
    become(isExported ? "off" : "waiting");
  } else open();
});

/** Call `listener` with what has come, or with null when anything may have; returns what ends it. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  open();
  return () => listeners.delete(listener);
}

/** Whether the page hears of what comes. */
export function useLiveState(): LiveState {
  const [seen, see] = useState(state);
  useEffect(() => {
    watchers.add(see);
    see(state);
    open();
    return () => {
      watchers.delete(see);
    };
  }, []);
  return seen;
}
