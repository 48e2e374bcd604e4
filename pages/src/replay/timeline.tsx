// A replay's scale of time: a slider, and above each other what happened when.

import { useState } from "preact/hooks";
import { counted, position } from "../text/format";
import { LANES, type Lane, type Mark } from "./marks";

const STEP_MS = 5000;
const FAR_MS = 30_000;
const PLACES = 200; // marks that are nearer to each other than this part of the scale are one

interface TimelineProps {
  start: number;
  end: number;
  now: number;
  marks: Mark[];
  seek: (at: number) => void;
  toggle: () => void;
}

/** Where a moment is on the scale, in percent. */
function place(at: number, { start, end }: Pick<TimelineProps, "start" | "end">): number {
  return end > start ? Math.max(0, Math.min(100, ((at - start) / (end - start)) * 100)) : 0;
}

export function Slider({ start, end, now, seek, toggle }: Omit<TimelineProps, "marks">) {
  const steps: Record<string, number> = {
    ArrowLeft: now - STEP_MS,
    ArrowDown: now - STEP_MS,
    ArrowRight: now + STEP_MS,
    ArrowUp: now + STEP_MS,
    PageDown: now - FAR_MS,
    PageUp: now + FAR_MS,
    Home: start,
    End: end,
  };
  const onKey = (event: KeyboardEvent) => {
    const to = steps[event.key];
    if (event.key !== " " && to === undefined) return;
    event.preventDefault();
    if (to === undefined) toggle();
    else seek(Math.max(start, Math.min(to, end)));
  };
  return (
    <input
      type="range"
      class="slider"
      aria-label="Time in the replay"
      aria-valuetext={`${position(now - start)} of ${position(end - start)}`}
      min={0}
      max={Math.max(1, Math.round(end - start))}
      value={Math.round(now - start)}
      onInput={(event) => seek(start + event.currentTarget.valueAsNumber)}
      onKeyDown={onKey}
    />
  );
}

/** Marks that would cover each other. */
interface Spot {
  key: number;
  time: number;
  bad: boolean;
  label: string;
}

function spotsOf(lane: Lane, { start, end, marks }: Pick<TimelineProps, "start" | "end" | "marks">): Spot[] {
  const found = new Map<number, Mark[]>();
  for (const mark of marks) {
    if (mark.lane !== lane) continue;
    const at = Math.floor((place(mark.time, { start, end }) / 100) * PLACES);
    found.set(at, [...(found.get(at) ?? []), mark]);
  }
  return [...found]
    .sort(([one], [other]) => one - other)
    .map(([key, of]) => {
      const first = of.reduce((one, other) => (other.time < one.time ? other : one));
      // What failed is what one looks for.
      const shown = of.find(({ bad }) => bad) ?? first;
      const more = of.length > 1 ? `, and ${counted(of.length - 1, "more", "more")}` : "";
      return {
        key,
        time: shown.time,
        bad: shown.bad === true,
        label: `${position(shown.time - start)} ${shown.label}${more}`,
      };
    });
}

/** What happened when. The arrow keys go from one to the next, within a lane and between them. */
export function Lanes(props: Omit<TimelineProps, "toggle">) {
  const { now, seek } = props;
  const [current, setCurrent] = useState<string>();
  const lanes = LANES.map((lane) => ({ lane, spots: spotsOf(lane, props) }));
  const names = lanes.flatMap(({ lane, spots }) => spots.map(({ key }) => `${lane} ${key}`));
  const reached = current && names.includes(current) ? current : names[0];

  const onKey = (event: KeyboardEvent) => {
    const button = (event.target as Element).closest("button");
    const list = button?.closest(".lane");
    if (!button || !list) return;
    const next = neighbour(button, list, event.key);
    if (next === undefined) return;
    event.preventDefault();
    next?.focus();
  };
  return (
    <div class="lanes" role="toolbar" aria-label="What happened when" aria-orientation="horizontal" onKeyDown={onKey}>
      {lanes.map(({ lane, spots }) => (
        <div key={lane} class="lane-row">
          <span class="lane-name" aria-hidden="true">
            {lane}
          </span>
          <ul class={`lane ${lane.toLowerCase()}`} aria-label={lane}>
            {spots.map(({ key, time, bad, label }) => (
              <li key={key} style={{ left: `${place(time, props)}%` }}>
                <button
                  type="button"
                  class={bad ? "bad" : ""}
                  aria-label={label}
                  title={label}
                  tabIndex={reached === `${lane} ${key}` ? 0 : -1}
                  onFocus={() => setCurrent(`${lane} ${key}`)}
                  onClick={() => seek(time)}
                />
              </li>
            ))}
          </ul>
        </div>
      ))}
      <div class="track">
        <div class="playhead" style={{ left: `${place(now, props)}%` }} />
      </div>
    </div>
  );
}

/** The mark that a key leads to; null where there is none further, nothing for another key. */
function neighbour(button: Element, list: Element, key: string): HTMLElement | null | undefined {
  const inLane = [...list.querySelectorAll("button")];
  const at = inLane.indexOf(button as HTMLButtonElement);
  switch (key) {
    case "ArrowRight":
      return inLane[at + 1] ?? null;
    case "ArrowLeft":
      return inLane[at - 1] ?? null;
    case "Home":
      return inLane[0] ?? null;
    case "End":
      return inLane.at(-1) ?? null;
    case "ArrowUp":
    case "ArrowDown": {
      const lanes = [...(list.closest(".lanes")?.querySelectorAll(".lane") ?? [])].filter(
        (lane) => lane.childElementCount,
      );
      const other = lanes[lanes.indexOf(list) + (key === "ArrowDown" ? 1 : -1)];
      if (!other) return null;
      const x = button.getBoundingClientRect().left;
      const away = (one: Element) => Math.abs(one.getBoundingClientRect().left - x);
      return [...other.querySelectorAll("button")].reduce((one, next) => (away(next) < away(one) ? next : one));
    }
    default:
      return undefined;
  }
}
