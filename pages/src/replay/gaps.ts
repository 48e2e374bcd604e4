// The stretches of a recording in which nobody did anything.

const SHORTEST_MS = 5000;
const LEAD_MS = 1000; // what is shown before something happens again

export interface Gap {
  from: number;
  /** Where to go on. */
  to: number;
}

/** The gaps between moments of activity, in any order, and before the end. */
export function gapsBetween(moments: number[], start: number, end: number): Gap[] {
  const found: Gap[] = [];
  let last = start;
  for (const moment of [...moments, end].sort((one, other) => one - other)) {
    if (moment > end) break;
    if (moment - last >= SHORTEST_MS) found.push({ from: last + LEAD_MS, to: moment - LEAD_MS });
    last = Math.max(last, moment);
  }
  return found;
}

/** The gap that a moment is in. */
export function gapAt(gaps: Gap[], moment: number): Gap | undefined {
  return gaps.find(({ from, to }) => from <= moment && moment < to);
}
