// A trace's spans as the rows of a tree.

import type { Span } from "../data/types";

export interface Row {
  span: Span;
  /** 0 for a root. */
  level: number;
  parent: Row | null;
  /** Its place among its siblings, from 1 on, and their number. */
  position: number;
  siblings: number;
  /** How many of the rows that follow are below it. */
  below: number;
}

/**
 * All rows, each before those below it. A span whose parent is not there is a root, and so is the first one of those
 * that call each other their parent.
 */
export function rowsOf(spans: Span[]): Row[] {
  const known = new Set(spans.map((span) => span.span_id));
  const children = new Map<string, Span[]>();
  const roots: Span[] = [];
  for (const span of spans) {
    const parent = span.parent_id;
    if (parent === null || !known.has(parent)) roots.push(span);
    else children.get(parent)?.push(span) ?? children.set(parent, [span]);
  }
  const rows: Row[] = [];
  const seen = new Set<string>();
  const walk = (first: Row) => {
    const waiting = [first]; // and no recursion: a trace may be deeper than the stack
    for (let row = waiting.pop(); row; row = waiting.pop()) {
      if (seen.has(row.span.span_id)) continue;
      seen.add(row.span.span_id);
      rows.push(row);
      waiting.push(...rowsBelow(row, children.get(row.span.span_id) ?? []).reverse());
    }
  };
  roots.forEach((span, index) => {
    walk({ span, level: 0, parent: null, position: index + 1, siblings: roots.length, below: 0 });
  });
  if (rows.length < spans.length) {
    for (const span of spans) {
      if (!seen.has(span.span_id)) walk({ span, level: 0, parent: null, position: 1, siblings: 1, below: 0 });
    }
  }
  return counted(rows);
}

/** Those rows that are not below a collapsed one. */
export function shownRows(rows: Row[], collapsed: ReadonlySet<string>): Row[] {
  if (collapsed.size === 0) return rows;
  const shown: Row[] = [];
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index] as Row;
    shown.push(row);
    if (collapsed.has(row.span.span_id)) index += row.below;
  }
  return shown;
}

function rowsBelow(parent: Row, spans: Span[]): Row[] {
  const level = parent.level + 1;
  return spans.map((span, index) => ({
    span,
    level,
    parent,
    position: index + 1,
    siblings: spans.length,
    below: 0,
  }));
}

function counted(rows: Row[]): Row[] {
  const open: { row: Row; index: number }[] = [];
  const close = (level: number, end: number) => {
    for (let last = open.at(-1); last && last.row.level >= level; last = open.at(-1)) {
      last.row.below = end - last.index - 1;
      open.pop();
    }
  };
  rows.forEach((row, index) => {
    close(row.level, index);
    open.push({ row, index });
  });
  close(0, rows.length);
  return rows;
}
