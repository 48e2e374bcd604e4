// What happened, on the replay's scale of time.

import { CLICK, CUSTOM, INCREMENTAL, isRecord, META, MOUSE_INTERACTION, type Recorded } from "./events";

export const LANES = ["Pages", "Clicks", "Requests", "Errors"] as const;
export type Lane = (typeof LANES)[number];

export interface Mark {
  lane: Lane;
  /** Milliseconds since 1970. */
  time: number;
  label: string;
  /** It failed. */
  bad?: boolean;
}

const SAME_MS = 200; // a click is recorded twice: by rrweb, and with its text by Highlight's client
const LONGEST = 80;

/** The clicks and the pages that the events themselves tell of. */
export function marksOf(events: Recorded[]): Mark[] {
  const named = events.flatMap(namedClick);
  const known = new Set(named.flatMap(({ time }) => [-1, 0, 1].map((beside) => Math.floor(time / SAME_MS) + beside)));
  const unnamed = events
    .filter((event) => isClick(event) && !known.has(Math.floor(event.timestamp / SAME_MS)))
    .map(({ timestamp }): Mark => ({ lane: "Clicks", time: timestamp, label: "Click" }));
  return [...pages(events), ...named, ...unnamed];
}

function isClick({ type, data }: Recorded): boolean {
  return type === INCREMENTAL && data.source === MOUSE_INTERACTION && data.type === CLICK;
}

function namedClick({ type, timestamp, data }: Recorded): Mark[] {
  if (type !== CUSTOM || data.tag !== "Click" || !isRecord(data.payload)) return [];
  const { clickTextContent, clickSelector } = data.payload;
  const what = [clickTextContent, clickSelector].find((text) => typeof text === "string" && text.trim());
  return [{ lane: "Clicks", time: timestamp, label: what ? `Click: ${short(String(what))}` : "Click" }];
}

function pages(events: Recorded[]): Mark[] {
  const found: Mark[] = [];
  let last = "";
  for (const { type, timestamp, data } of events) {
    const moved = type === CUSTOM && (data.tag === "Navigate" || data.tag === "Reload");
    const url = type === META ? data.href : moved ? data.payload : undefined;
    if (typeof url !== "string" || !url || (url === last && data.tag !== "Reload")) continue;
    last = url;
    found.push({ lane: "Pages", time: timestamp, label: `Page: ${short(url)}` });
  }
  return found;
}

function short(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}
