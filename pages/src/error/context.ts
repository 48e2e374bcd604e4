// The lines around those of a traceback, which the agent sends beside it.

import type { Attributes, ErrorDetail } from "../data/types";

export interface Context {
  /** The number of the first line. */
  first: number;
  lines: string[];
}

/** By the place of a call; empty where none were sent. */
export type Contexts = ReadonlyMap<string, Context>;

export function placeOf(file: string, line: number): string {
  return `${file}:${line}`;
}

/** What came with the span's event, or the log record, that this error was told by. */
export function contextsOf(error: ErrorDetail): Contexts {
  const told: Attributes[] = [...(error.span?.events ?? []), ...error.logs].map(({ attributes }) => attributes);
  const found = told.find((attributes) => error.stack && attributes["exception.stacktrace"] === error.stack);
  const contexts = new Map<string, Context>();
  for (const frame of framesOf(found?.["exception.structured_stacktrace"])) {
    const { fileName, lineNumber, linesBefore, lineContent, linesAfter } = frame;
    if (typeof lineNumber !== "number" || typeof lineContent !== "string") continue;
    const before = linesOf(linesBefore);
    contexts.set(placeOf(String(fileName), lineNumber), {
      first: lineNumber - before.length,
      lines: [...before, lineContent, ...linesOf(linesAfter)],
    });
  }
  return contexts;
}

/** Anybody may have sent it. */
function framesOf(text: unknown): Attributes[] {
  if (typeof text !== "string") return [];
  try {
    const frames: unknown = JSON.parse(text);
    return Array.isArray(frames) ? frames.filter((frame) => typeof frame === "object" && frame !== null) : [];
  } catch {
    return [];
  }
}

function linesOf(text: unknown): string[] {
  return typeof text === "string" && text !== "" ? text.split("\n") : [];
}
