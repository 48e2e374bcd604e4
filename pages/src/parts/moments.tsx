// A list of what happened in a session beside its replay: the row of the moment that is shown is marked, and choosing a
// row takes the replay there.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Answer } from "../data/use";
import { position } from "../text/format";
import { Instead } from "./page";
import { Time } from "./text";

/** Where the replay stands; nothing where there is none. */
export interface Playhead {
  now: number;
  start: number;
  seek: (at: number) => void;
}

interface MomentsProps<T> {
  name: string;
  answer: Answer<T[]>;
  playhead: Playhead | null;
  keyOf: (item: T) => string | number;
  timeOf: (item: T) => number;
  classOf?: (item: T) => string;
  row: (item: T) => ComponentChildren;
  empty: string;
}

export function Moments<T>({ name, answer, playhead, keyOf, timeOf, classOf, row, empty }: MomentsProps<T>) {
  const list = useRef<HTMLOListElement>(null);
  const items = answer.value;
  const current = playhead && items ? items.findLastIndex((item) => timeOf(item) <= playhead.now) : -1;
  useEffect(() => {
    const holder = list.current;
    const marked = holder?.children[current];
    // Who points at the list or is in it reads: it stays as it is.
    if (!holder || !(marked instanceof HTMLElement) || holder.matches(":hover, :focus-within")) return;
    const below = marked.offsetTop + marked.offsetHeight - holder.clientHeight;
    holder.scrollTop = Math.min(marked.offsetTop, Math.max(holder.scrollTop, below));
  }, [current]);
  // By the pointer a whole row can be chosen, around what is a control itself and what is being selected in it.
  const choose = useRef<(event: MouseEvent) => void>(undefined);
  choose.current = ({ target }) => {
    if (!(target instanceof Element) || target.closest("a, button, .recorded")) return;
    const index = [...(list.current?.children ?? [])].findIndex((row) => row.contains(target));
    const item = items?.[index];
    if (item && getSelection()?.isCollapsed) playhead?.seek(timeOf(item));
  };
  const shown = items !== undefined;
  useEffect(() => {
    const holder = list.current;
    const listener = (event: MouseEvent) => choose.current?.(event);
    holder?.addEventListener("click", listener);
    return () => holder?.removeEventListener("click", listener);
  }, [shown]);
  if (!shown) return <Instead answer={answer} />;
  return (
    <>
      {answer.error !== undefined && <Instead answer={answer} />}
      {items.length === 0 && <p class="instead">{empty}</p>}
      <ol class="moments" aria-label={name} ref={list}>
        {items.map((item, index) => (
          <li
            key={keyOf(item)}
            class={`${classOf?.(item) ?? ""} ${index === current ? "current" : ""}`}
            aria-current={index === current ? "step" : undefined}
          >
            <Moment at={timeOf(item)} playhead={playhead} />
            <div class="what">{row(item)}</div>
          </li>
        ))}
      </ol>
    </>
  );
}

/** A moment that one can go to. */
export function Moment({ at, playhead }: { at: number; playhead: Playhead | null }) {
  if (!playhead) return <Time at={at} />;
  const where = at < playhead.start ? "before" : position(at - playhead.start);
  return (
    <button type="button" class="go-to" aria-label={`Go to ${where}`} onClick={() => playhead.seek(at)}>
      {where}
    </button>
  );
}
