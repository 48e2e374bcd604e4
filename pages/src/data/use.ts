// Hooks that ask the API, and ask again when the server says that something has come.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { listen } from "./live";
import { api, ask } from "./source";
import type { Kind, List, Told } from "./types";

const PAUSE_MS = 1000; // between two questions of one view: a busy service must not keep the page at work
export const PAGE = 50;
export const MOST = 500; // items of one answer; see queries.py

/** What a view shows changes with rows of these kinds; with `session`, only of that session. */
export interface Follows {
  kinds: Kind[];
  session?: string | null;
}

export interface Answer<T> {
  value: T | undefined;
  error: string | undefined;
  loading: boolean;
}

function concerns(told: Told | null, follows: Follows): boolean {
  if (told === null) return true;
  if (follows.session && !told.sessions.includes(follows.session)) return false;
  return follows.kinds.some((kind) => (kind === "sessions" ? told.sessions.length : told.rows[kind]));
}

/** Call `again` when something that is followed has come, at most once in a while. */
export function useFollowing(follows: Follows | undefined, again: () => void): void {
  const call = useRef(again);
  call.current = again;
  const key = follows && JSON.stringify(follows);
  useEffect(() => {
    if (key === undefined) return;
    const followed: Follows = JSON.parse(key);
    let timer: number | undefined;
    let asked = 0;
    const end = listen((told) => {
      if (timer !== undefined || !concerns(told, followed)) return;
      timer = window.setTimeout(
        () => {
          timer = undefined;
          asked = Date.now();
          call.current();
        },
        Math.max(0, asked + PAUSE_MS - Date.now()),
      );
    });
    return () => {
      end();
      clearTimeout(timer);
    };
  }, [key]);
}

/** The answer to a path, or nothing yet for null. What is there stays while the same path is asked again. */
export function useAnswer<T>(path: string | null, follows?: Follows): Answer<T> {
  const [told, tell] = useState<{ path: string; value?: T; error?: string }>();
  const asking = useRef<AbortController | undefined>(undefined);
  const load = useCallback(() => {
    asking.current?.abort();
    if (path === null) return;
    const mine = new AbortController();
    asking.current = mine;
    ask<T>(path, mine.signal).then(
      (value) => tell({ path, value }),
      (error) => {
        if (!mine.signal.aborted) tell({ path, error: error.message });
      },
    );
  }, [path]);
  useEffect(() => {
    load();
    return () => asking.current?.abort();
  }, [load]);
  useFollowing(path === null ? undefined : follows, load);
  const current = told?.path === path ? told : undefined;
  return { value: current?.value, error: current?.error, loading: path !== null && current === undefined };
}

export interface ListAnswer<T> extends Answer<T[]> {
  more: (() => void) | null;
}

export type Parameters = Record<string, string | number | boolean | null | undefined>;

/** A list with all that has been asked for of it so far; `more` asks for what follows. */
export function useList<T>(path: string, parameters: Parameters, follows?: Follows): ListAnswer<T> {
  const question = api(path, parameters);
  const [told, tell] = useState<{ question: string; items: T[]; next: string | null; error?: string }>();
  const current = told?.question === question ? told : undefined;
  const asking = useRef<AbortController | undefined>(undefined);

  const load = (limit: number, cursor: string | null, before: T[]) => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    ask<List<T>>(api(path, { ...parameters, limit, cursor }), mine.signal).then(
      ({ items, next }) => tell({ question, items: [...before, ...items], next }),
      (error) => {
        if (!mine.signal.aborted) tell({ question, items: before, next: null, error: error.message });
      },
    );
  };
  useEffect(() => {
    load(PAGE, null, []);
    return () => asking.current?.abort();
  }, [question]);
  useFollowing(follows, () => {
    // Also before there is a first answer: what comes while that is on its way may be missing in it. More than one
    // answer holds is not asked again: who has gone so far down reads, and nothing should move.
    const known = current?.items.length ?? 0;
    if (known <= MOST) load(Math.max(PAGE, known), null, []);
  });

  const next = current?.next;
  return {
    value: current?.items,
    error: current?.error,
    loading: current === undefined,
    more: current && next ? () => load(PAGE, next, current.items) : null,
  };
}

const ANSWERS = 10; // of MOST items: who looks for one among more than that searches

/** All of a list that is told from its beginning on. What comes is asked for from the last answer on. */
export function useWhole<T>(path: string, follows: Follows): Answer<T[]> {
  const [told, tell] = useState<{ path: string; items?: T[] | undefined; error?: string }>();
  const held = useRef<{ path: string; pages: T[][]; cursors: (string | null)[] }>({ path, pages: [], cursors: [null] });
  const asking = useRef<AbortController | undefined>(undefined);
  const load = useCallback(async () => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    if (held.current.path !== path) held.current = { path, pages: [], cursors: [null] };
    const { pages, cursors } = held.current;
    try {
      for (let page = Math.max(0, pages.length - 1); page < ANSWERS; page++) {
        const { items, next } = await ask<List<T>>(api(path, { limit: MOST, cursor: cursors[page] }), mine.signal);
        pages[page] = items;
        cursors[page + 1] = next;
        tell({ path, items: pages.flat() });
        if (next === null) break;
      }
    } catch (error) {
      const line = error instanceof Error ? error.message : String(error);
      if (!mine.signal.aborted)
        tell((old) => ({ path, items: old?.path === path ? old.items : undefined, error: line }));
    }
  }, [path]);
  useEffect(() => {
    load();
    return () => asking.current?.abort();
  }, [load]);
  useFollowing(follows, load);
  const current = told?.path === path ? told : undefined;
  return { value: current?.items, error: current?.error, loading: current === undefined };
}
