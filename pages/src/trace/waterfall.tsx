// A trace's spans as a tree beside the time that each took. Only the rows in sight are drawn: a trace has thousands.
// They are placed, which rows of a table cannot be, and the keyboard is at a row, not at its cells: hence the roles.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ErrorItem, Log, Span, TraceDetail } from "../data/types";
import { counted, duration } from "../text/format";
import { colorsOf } from "./services";
import "./trace.css";
import { type Row, rowsOf, shownRows } from "./tree";

const ROW_PX = 28; // --row in trace.css
const SPARE = 20; // rows drawn beyond those in sight, on either side
const MOST_MARKS = 50; // of logs on one span
const INDENT_PX = 14;
const DEEPEST = 16; // levels that are indented: the name needs room too

interface WaterfallProps {
  trace: TraceDetail;
  /** The span that the page is about. */
  selected: string | null;
  /** Where a span's name leads; without it, it is a button. */
  to?: (span: Span) => string;
  onSelect?: (span: Span) => void;
}

export function Waterfall({ trace, selected, to, onSelect }: WaterfallProps) {
  const rows = useMemo(() => rowsOf(trace.items), [trace.items]);
  const colors = useMemo(() => colorsOf(trace.items), [trace.items]);
  const marks = useMemo(() => marksOf(trace), [trace.errors, trace.logs]);
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const shown = useMemo(() => shownRows(rows, collapsed), [rows, collapsed]);
  const [active, setActive] = useState(selected);
  const grid = useGrid(shown, active ?? selected, setActive);

  const toggle = (row: Row, close: boolean) => {
    const next = new Set(collapsed);
    if (close) next.add(row.span.span_id);
    else next.delete(row.span.span_id);
    setCollapsed(next);
  };
  // A selected span is in sight, whoever selected it.
  useLayoutEffect(() => {
    if (selected === null) return;
    setActive(selected);
    const row = rows.find(({ span }) => span.span_id === selected);
    const above = new Set<string>();
    for (let parent = row?.parent; parent; parent = parent.parent) above.add(parent.span.span_id);
    if ([...above].some((id) => collapsed.has(id))) {
      setCollapsed(new Set([...collapsed].filter((id) => !above.has(id))));
    }
  }, [selected, rows.length]);
  useLayoutEffect(() => {
    grid.reveal(shown.findIndex(({ span }) => span.span_id === selected));
  }, [selected, shown.length]);

  const keyed = (event: KeyboardEvent, row: Row, index: number) => {
    const isClosed = collapsed.has(row.span.span_id);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowDown") grid.go(index + 1);
    else if (event.key === "ArrowUp") grid.go(index - 1);
    else if (event.key === "Home") grid.go(0);
    else if (event.key === "End") grid.go(shown.length - 1);
    else if (event.key === "PageDown") grid.go(index + grid.visible);
    else if (event.key === "PageUp") grid.go(index - grid.visible);
    else if (event.key === "ArrowRight" && row.below) isClosed ? toggle(row, false) : grid.go(index + 1);
    else if (event.key === "ArrowLeft" && row.below && !isClosed) toggle(row, true);
    else if (event.key === "ArrowLeft" && row.parent) grid.go(shown.indexOf(row.parent));
    else if (event.key === "Enter" || event.key === " ") {
      if (event.target !== event.currentTarget) return; // of a link or button in it
      (event.currentTarget as HTMLElement).querySelector<HTMLElement>(".name a, .name button.span-name")?.click();
    } else return;
    event.preventDefault();
  };

  const parents = rows.filter((row) => row.below);
  return (
    <div class="waterfall">
      <div class="waterfall-head">
        <ul class="legend" aria-label="Services">
          {[...colors].map(([name, color]) => (
            <li key={name}>
              <span class={`swatch ${color}`} aria-hidden="true" /> {name}
            </li>
          ))}
        </ul>
        {parents.length > 1 && (
          <>
            <button
              type="button"
              disabled={collapsed.size === parents.length}
              onClick={() => setCollapsed(new Set(parents.map(({ span }) => span.span_id)))}
            >
              Collapse all
            </button>
            <button type="button" disabled={collapsed.size === 0} onClick={() => setCollapsed(new Set())}>
              Expand all
            </button>
          </>
        )}
      </div>
      <div
        class="waterfall-grid"
        role="treegrid"
        aria-label="Spans, in the order of their starts"
        aria-rowcount={shown.length + 1}
        ref={grid.box}
        onScroll={grid.scrolled}
      >
        <div role="row" class="head" aria-rowindex={1}>
          <span role="columnheader">Span</span>
          <span role="columnheader" class="time">
            <span class="unseen">Time from the trace's start</span>
            {[0, 0.25, 0.5, 0.75, 1].map((part) => (
              <span key={part} class="scale-mark" style={{ left: `${part * 100}%` }} aria-hidden="true">
                {duration(trace.duration * part)}
              </span>
            ))}
          </span>
        </div>
        <div role="rowgroup" class="rows" style={{ height: `${shown.length * ROW_PX}px` }}>
          {grid.drawn.map((index) => {
            const row = shown[index] as Row;
            const id = row.span.span_id;
            return (
              <div
                key={id}
                role="row"
                class={`span ${id === selected ? "selected" : ""} ${row.span.status === "error" ? "failed" : ""}`}
                style={{ top: `${index * ROW_PX}px` }}
                aria-level={row.level + 1}
                aria-posinset={row.position}
                aria-setsize={row.siblings}
                aria-rowindex={index + 2}
                aria-selected={id === selected}
                aria-expanded={row.below ? !collapsed.has(id) : undefined}
                tabIndex={index === grid.active ? 0 : -1}
                ref={index === grid.active ? grid.focused : null}
                onFocus={() => setActive(id)}
                onKeyDown={(event) => keyed(event, row, index)}
              >
                <Name
                  row={row}
                  color={colors.get(row.span.service) ?? ""}
                  closed={collapsed.has(id)}
                  toggle={toggle}
                  errors={marks.errors.get(id)?.length ?? 0}
                  logs={marks.logs.get(id)?.length ?? 0}
                  {...(to && { href: to(row.span) })}
                  {...(onSelect && { onSelect })}
                />
                <Bar
                  span={row.span}
                  trace={trace}
                  color={colors.get(row.span.service) ?? ""}
                  errors={marks.errors.get(id) ?? []}
                  logs={marks.logs.get(id) ?? []}
                />
              </div>
            );
          })}
        </div>
      </div>
      {trace.more_spans && (
        <p class="faint">
          These are the first {counted(trace.items.length, "span")} of {counted(trace.spans, "span")}.
        </p>
      )}
    </div>
  );
}

interface NameProps {
  row: Row;
  color: string;
  closed: boolean;
  toggle: (row: Row, close: boolean) => void;
  errors: number;
  logs: number;
  href?: string;
  onSelect?: (span: Span) => void;
}

function Name({ row, color, closed, toggle, errors, logs, href, onSelect }: NameProps) {
  const { span, level, parent } = row;
  return (
    <div role="gridcell" class="name" style={{ paddingLeft: `${Math.min(level, DEEPEST) * INDENT_PX}px` }}>
      {row.below ? (
        <button
          type="button"
          class="twist"
          tabIndex={-1}
          aria-label={closed ? "Expand" : "Collapse"}
          onClick={() => toggle(row, !closed)}
        >
          {closed ? "▸" : "▾"}
        </button>
      ) : (
        <span class="twist" />
      )}
      <span class={`swatch ${color}`} aria-hidden="true" />
      {href === undefined ? (
        <button type="button" class="span-name" tabIndex={-1} title={span.name} onClick={() => onSelect?.(span)}>
          {span.name}
        </button>
      ) : (
        <a class="span-name" tabIndex={-1} href={href} title={span.name}>
          {span.name}
        </a>
      )}
      <span class={parent?.span.service === span.service ? "unseen" : "faint"}>{span.service}</span>
      {closed && <span class="faint">+{row.below}</span>}
      {(errors > 0 || span.status === "error") && (
        <span class="failure" title={errors ? counted(errors, "error") : "failed"}>
          <span aria-hidden="true">◆</span>
          <span class="unseen">{errors ? counted(errors, "error") : "failed"}</span>
        </span>
      )}
      {logs > 0 && <span class="unseen">{counted(logs, "log record")}</span>}
    </div>
  );
}

interface BarProps {
  span: Span;
  trace: TraceDetail;
  color: string;
  errors: ErrorItem[];
  logs: Log[];
}

function Bar({ span, trace, color, errors, logs }: BarProps) {
  const part = (time: number) => Math.min(1, Math.max(0, (time - trace.start) / (trace.duration || 1)));
  const start = part(span.start);
  const end = part(span.start + span.duration);
  const percent = (value: number) => `${(value * 100).toFixed(3)}%`;
  return (
    <div role="gridcell" class="time">
      <span class={`bar ${color}`} style={{ left: percent(start), width: percent(end - start) }} />
      {logs.slice(0, MOST_MARKS).map((log) => (
        <span
          key={log.id}
          class={`log-mark ${log.severity.toLowerCase()}`}
          style={{ left: percent(part(log.time)) }}
          title={`${log.severity} ${log.body.slice(0, 200)}`}
        />
      ))}
      {errors.map((error) => (
        <span
          key={error.id}
          class="error-mark"
          style={{ left: percent(part(error.time)) }}
          title={`${error.type}: ${error.message.slice(0, 200)}`}
        />
      ))}
      <span class="length" style={{ left: percent(end) }}>
        {duration(span.duration)}
      </span>
    </div>
  );
}

/** What happened in each span. */
function marksOf({ errors, logs }: TraceDetail) {
  const bySpan = <T extends { span_id: string | null }>(items: T[]) => {
    const found = new Map<string, T[]>();
    for (const item of items) {
      if (item.span_id !== null) found.get(item.span_id)?.push(item) ?? found.set(item.span_id, [item]);
    }
    return found;
  };
  return { errors: bySpan(errors), logs: bySpan(logs) };
}

/** Which rows are drawn, and which one the keyboard is at. */
function useGrid(shown: Row[], activeId: string | null, setActive: (id: string) => void) {
  const box = useRef<HTMLDivElement>(null);
  const focused = useRef<HTMLDivElement>(null);
  const wanted = useRef(false);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(0);
  useLayoutEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => entry && setHeight(entry.contentRect.height));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const active = Math.max(
    0,
    shown.findIndex(({ span }) => span.span_id === activeId),
  );
  // At once: an effect that waits for the screen could run after the next key, and take the focus where it was.
  useLayoutEffect(() => {
    if (!wanted.current) return;
    wanted.current = false;
    focused.current?.focus({ preventScroll: true });
  });
  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE);
  const last = Math.min(shown.length, Math.ceil((top + height) / ROW_PX) + SPARE);
  const drawn = Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
  // The row that has the focus keeps it when it is out of sight.
  if (shown.length && active < first) drawn.unshift(active);
  if (active >= last && active < shown.length) drawn.push(active);

  const reveal = (index: number) => {
    const element = box.current;
    if (!element || index < 0) return;
    const room = element.clientHeight - ROW_PX; // below the head
    const at = index * ROW_PX;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at + ROW_PX > element.scrollTop + room) element.scrollTop = at + ROW_PX - room;
    setTop(element.scrollTop);
  };
  return {
    box,
    focused,
    active,
    drawn,
    visible: Math.max(1, Math.floor(height / ROW_PX) - 2),
    scrolled: () => setTop(box.current?.scrollTop ?? 0),
    reveal,
    go: (index: number) => {
      const there = Math.max(0, Math.min(shown.length - 1, index));
      const row = shown[there];
      if (!row) return;
      wanted.current = true;
      setActive(row.span.span_id);
      reveal(there);
    },
  };
}
