// A list of log records that goes on at its upper end while they come.

import { useEffect, useRef, useState } from "preact/hooks";
import { api, ask } from "./source";
import type { Log, Logs } from "./types";
import { type Answer, MOST, PAGE, type Parameters, useFollowing } from "./use";

const MOST_SHOWN = 2000; // while it is followed; then it begins anew with the newest

export interface LogsAnswer extends Answer<Log[]> {
  /** Asks for those that follow, the older ones. */
  more: (() => void) | null;
  /** Puts those in front that have come since; null where none has. */
  newer: (() => void) | null;
}

interface Known {
  question: string;
  items: Log[];
  next: string | null;
  /** What came up to this record is known. */
  last: number;
  waiting?: boolean;
  error?: string;
}

/** Log records, the newest first; `follow`: those that come are shown at once, and otherwise said to be there. */
export function useLogs(parameters: Parameters, follow: boolean): LogsAnswer {
  const question = api("logs", parameters);
  const [told, tell] = useState<Known>();
  const known = told?.question === question ? told : undefined;
  const asking = useRef<AbortController | undefined>(undefined);

  const load = (more: Parameters, use: (answer: Logs) => Known) => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    ask<Logs>(api("logs", { ...parameters, ...more }), mine.signal).then(
      (answer) => tell(use(answer)),
      (error) => {
        if (mine.signal.aborted) return;
        tell({ ...(known ?? { question, items: [], next: null, last: 0 }), error: error.message });
      },
    );
  };
  const begin = (limit: number) => load({ limit }, ({ items, next, last }) => ({ question, items, next, last }));
  const grow = () => {
    if (!known || known.error !== undefined) return begin(PAGE);
    load({ limit: MOST, since: known.last }, ({ items, last }) => {
      if (items.length === MOST || known.items.length + items.length > MOST_SHOWN) {
        begin(MOST);
        return known;
      }
      return { ...known, items: merged(known, items, Boolean(parameters.text)), last, waiting: false };
    });
  };
  useEffect(() => {
    begin(PAGE);
    return () => asking.current?.abort();
  }, [question]);
  useEffect(() => {
    if (follow && known) grow(); // what came while it was not followed
  }, [follow]);
  useFollowing({ kinds: ["logs"] }, () => {
    if (follow || !known) grow();
    else if (!known.waiting) {
      load({ limit: 1, since: known.last }, ({ items }) => ({ ...known, waiting: items.length > 0 }));
    }
  });

  const next = known?.next;
  return {
    value: known?.items,
    error: known?.error,
    loading: known === undefined,
    more: next
      ? () =>
          load({ limit: PAGE, cursor: next }, (answer) => ({
            ...known,
            items: [...known.items, ...unknown(known, answer.items)],
            next: answer.next,
          }))
      : null,
    newer: known?.waiting ? grow : null,
  };
}

/**
 * Those that are shown with those that came, in the order of the API: by time, and in a search as they came. One whose
 * place is below the last one that is shown comes with those that follow.
 */
function merged(known: Known, come: Log[], byArrival: boolean): Log[] {
  const compare = (one: Log, other: Log) => (byArrival ? 0 : other.time - one.time) || other.id - one.id;
  const lowest = known.next === null ? undefined : known.items.at(-1);
  const added = unknown(known, come).filter((log) => lowest === undefined || compare(log, lowest) < 0);
  return added.length ? [...added, ...known.items].sort(compare) : known.items;
}

function unknown(known: Known, logs: Log[]): Log[] {
  const ids = new Set(known.items.map(({ id }) => id));
  return logs.filter(({ id }) => !ids.has(id));
}
