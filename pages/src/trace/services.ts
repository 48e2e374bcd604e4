// Which color a service has in a trace.

import type { Span } from "../data/types";

const COLORS = 8; // .color-0 to .color-7 in trace.css

/** The services of a trace in the order in which they come up, each with its class. */
export function colorsOf(spans: Span[]): Map<string, string> {
  const colors = new Map<string, string>();
  for (const { service } of spans) {
    if (!colors.has(service)) colors.set(service, `color-${colors.size % COLORS}`);
  }
  return colors;
}
