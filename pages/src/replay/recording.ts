// A session's events: those that there are, and those that come while one looks.

import { useEffect, useReducer, useRef } from "preact/hooks";
import { api, askWhole } from "../data/source";
import { useFollowing } from "../data/use";
import { META, type Recorded, SNAPSHOT } from "./events";
import { type Mark, marksOf } from "./marks";
import { Cleaner } from "./safe";

const NEAR_MS = 1000; // the window's size is told just before the snapshot

/** What has been recorded so far, from its first snapshot on: what was before cannot be shown. */
export class Recording {
  readonly events: Recorded[] = [];
  /** The first and the last moment that can be shown. */
  start = 0;
  end = 0;
  marks: Mark[] = [];
  private readonly cleaner = new Cleaner();
  private before: Recorded[] = [];
  private chunk = 0;

  constructor(private readonly session: string) {}

  /** Ask for what has come since, and return it, made safe, in its order. */
  async grow(signal: AbortSignal): Promise<Recorded[]> {
    const path = `sessions/${encodeURIComponent(this.session)}/events`;
    const { value, headers } = await askWhole<Recorded[]>(api(path, { since: this.chunk || null }), signal);
    this.chunk = Number(headers.get("x-last-chunk")) || this.chunk;
    const come = this.cleaner.clean(value.sort((one, other) => one.timestamp - other.timestamp));
    const added = this.events.length ? come : this.begin(come);
    if (added.length === 0) return [];
    for (const event of added) this.events.push(event);
    this.end = Math.max(this.end, added.at(-1)?.timestamp ?? 0);
    this.marks = marksOf(this.events);
    return added;
  }

  private begin(come: Recorded[]): Recorded[] {
    const all = [...this.before, ...come];
    const first = all.findIndex(({ type }) => type === SNAPSHOT);
    const size = all.slice(0, first < 0 ? undefined : first).findLast(({ type }) => type === META);
    const snapshot = all[first];
    if (!snapshot) {
      this.before = size ? [size] : [];
      return [];
    }
    // A recording whose beginning is no longer kept may have no size before it, or only one of long ago.
    const { timestamp } = snapshot;
    const near = size && timestamp - size.timestamp < NEAR_MS;
    const data = size?.data ?? { href: "", width: 1280, height: 800 };
    const begin = near ? size : { type: META, timestamp, data };
    this.start = this.end = begin.timestamp;
    return [begin, ...all.slice(first)];
  }
}

export interface Recorder {
  recording: Recording;
  /** Nothing is known yet. */
  loading: boolean;
  error: string | undefined;
}

interface Current extends Recorder {
  session: string;
  asking: AbortController | undefined;
  again: boolean;
}

/** A session's recording; `tell` gets what comes later. */
export function useRecording(session: string, tell: (events: Recorded[]) => void): Recorder {
  const [, draw] = useReducer((n: number) => n + 1, 0);
  const current = useRef<Current | undefined>(undefined);
  if (current.current?.session !== session) {
    current.current?.asking?.abort();
    const recording = new Recording(session);
    current.current = { session, recording, loading: true, error: undefined, asking: undefined, again: false };
  }
  const mine = current.current;
  const latest = useRef(tell);
  latest.current = tell;

  const grow = () => {
    mine.again = mine.asking !== undefined; // what comes meanwhile may not be in the answer
    if (mine.asking) return;
    const asking = new AbortController();
    mine.asking = asking;
    mine.recording
      .grow(asking.signal)
      .then(
        (added) => {
          mine.error = undefined;
          if (current.current === mine && added.length) latest.current(added);
        },
        (error) => {
          mine.error = error.message;
        },
      )
      .finally(() => {
        mine.asking = undefined;
        if (asking.signal.aborted) return;
        mine.loading = false;
        draw(0);
        if (mine.again) grow();
      });
  };
  useEffect(() => {
    grow();
    return () => mine.asking?.abort();
  }, [mine]);
  useFollowing({ kinds: ["chunks"], session }, grow);
  return mine;
}
