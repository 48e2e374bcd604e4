// rrweb's events, as far as they are looked into here. They come from a stranger's browser: nothing of them is sure.

export const SNAPSHOT = 2;
export const INCREMENTAL = 3;
export const META = 4;
export const CUSTOM = 5;

/** Sources of incremental events. */
export const MUTATION = 0;
export const MOUSE_MOVE = 1;
export const MOUSE_INTERACTION = 2;
export const INPUT = 5;
export const TOUCH_MOVE = 6;
export const MEDIA = 7;
export const STYLE_RULE = 8;
export const CANVAS = 9;
export const FONT = 10;
export const DRAG = 12;
export const STYLE_DECLARATION = 13;
export const ADOPTED_STYLES = 15;

/** The mouse interaction that is a click, and the last that there is. */
export const CLICK = 2;
export const LAST_INTERACTION = 10;

export interface Recorded {
  type: number;
  timestamp: number;
  data: Record<string, unknown>;
}

/** A node of a snapshot. */
export interface RecordedNode {
  id: number;
  type: number;
  tagName?: string;
  attributes?: Record<string, unknown>;
  childNodes?: RecordedNode[];
  textContent?: unknown;
  isStyle?: boolean;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Whether somebody did something: moved, clicked, scrolled or wrote. */
export function isActivity({ type, data }: Recorded): boolean {
  const source = Number(data.source);
  return type === INCREMENTAL && source >= MOUSE_MOVE && source <= INPUT;
}
