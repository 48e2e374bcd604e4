// Takes out of a recorded page what would load or run something. The frame without scripts and the pages' policy forbid
// it as well; here it never comes so far: nothing is refused with a message, and what no policy covers (a name that is
// looked up ahead, a connection that is opened ahead) does not happen.

import {
  ADOPTED_STYLES,
  CANVAS,
  DRAG,
  FONT,
  INCREMENTAL,
  isRecord,
  LAST_INTERACTION,
  listOf,
  MEDIA,
  MOUSE_INTERACTION,
  MOUSE_MOVE,
  MUTATION,
  type Recorded,
  type RecordedNode,
  SNAPSHOT,
  STYLE_DECLARATION,
  STYLE_RULE,
  TOUCH_MOVE,
} from "./events";

const STYLE_TEXT = "a style's text"; // instead of a tag
const EMPTY_URL = 'url("data:,")';
const LOADING = /@import\b[^;}]*;?|url\(\s*(?!["']?\s*(?:data:|#))(?:"[^"]*"|'[^']*'|[^"')]*)\s*\)/gi;
const FONT_FACE = /@font-face\s*\{[^}]*\}/gi;
const PICTURE = /^data:image\//i;
/** Attributes whose value is loaded, sent to or run; pictures that are in the page itself stay. */
const LOADED = new Set([
  "action",
  "archive",
  "autofocus",
  "autoplay",
  "background",
  "classid",
  "code",
  "codebase",
  "data",
  "formaction",
  "http-equiv",
  "imagesrcset",
  "manifest",
  "ping",
  "poster",
  "profile",
  "rr_dataurl",
  "src",
  "srcdoc",
  "srcset",
]);
const FRAMES = new Set(["iframe", "frame", "embed", "object", "applet", "portal", "fencedframe"]);

/** CSS that loads nothing. */
export function safeCss(css: string): string {
  return css
    .replace(LOADING, (found) => (found.startsWith("@") ? "" : EMPTY_URL))
    .replace(FONT_FACE, (found) => (found.includes(EMPTY_URL) ? "" : found));
}

/** Makes the events of one recording safe, in their order: a change tells a node's number, and not what it is. */
export class Cleaner {
  private tags = new Map<number, string>();

  /** Those of these that can be shown, changed in place. */
  clean(events: unknown[]): Recorded[] {
    return events.filter((event): event is Recorded => isEvent(event) && this.cleaned(event));
  }

  private cleaned({ type, data }: Recorded): boolean {
    if (type === SNAPSHOT) {
      this.tags.clear();
      return this.node(data.node, "");
    }
    if (type !== INCREMENTAL) return true;
    switch (data.source) {
      case MUTATION:
        this.mutation(data);
        return true;
      case MOUSE_MOVE:
      case TOUCH_MOVE:
      case DRAG:
        return listOf(data.positions).length > 0 && listOf(data.positions).every(isRecord);
      case MOUSE_INTERACTION:
        return Number.isInteger(data.type) && Number(data.type) >= 0 && Number(data.type) <= LAST_INTERACTION;
      case MEDIA:
      case CANVAS:
        return false;
      case FONT:
        return data.buffer === true || /^url\(\s*["']?data:/i.test(String(data.fontSource));
      case STYLE_RULE:
      case STYLE_DECLARATION:
      case ADOPTED_STYLES:
        cleanTexts(data);
        return true;
      default:
        return true;
    }
  }

  private mutation(data: Record<string, unknown>): void {
    for (const name of ["adds", "texts", "attributes", "removes"]) data[name] = listOf(data[name]).filter(isRecord);
    data.adds = listOf(data.adds).filter(
      (add) => isRecord(add) && this.node(add.node, this.tags.get(Number(add.parentId)) ?? ""),
    );
    for (const text of listOf(data.texts)) {
      if (!isRecord(text) || typeof text.value !== "string") continue;
      if (this.tags.get(Number(text.id)) === STYLE_TEXT) text.value = safeCss(text.value);
    }
    for (const change of listOf(data.attributes)) {
      if (!isRecord(change)) continue;
      change.attributes = safeAttributes(change.attributes, this.tags.get(Number(change.id)) ?? "");
    }
  }

  private node(value: unknown, parent: string): boolean {
    if (!isNode(value)) return false;
    const name = String(value.tagName ?? "").toLowerCase();
    const inStyle = parent === "style" || value.isStyle === true;
    this.tags.set(value.id, inStyle && !name ? STYLE_TEXT : name);
    if (inStyle && typeof value.textContent === "string") value.textContent = safeCss(value.textContent);
    if (name) {
      if (name === "script") value.tagName = "noscript"; // rrweb does it only where it is written as usual
      value.attributes = safeAttributes(value.attributes, name);
    }
    if (value.childNodes !== undefined || name) {
      value.childNodes = listOf(value.childNodes).filter((child) => this.node(child, name)) as RecordedNode[];
    }
    return true;
  }
}

function isEvent(value: unknown): value is Recorded {
  return isRecord(value) && isRecord(value.data);
}

function isNode(value: unknown): value is RecordedNode {
  return isRecord(value) && Number.isInteger(value.id) && Number.isInteger(value.type);
}

function safeAttributes(value: unknown, tag: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(isRecord(value) ? value : {})) {
    const safe = safeAttribute(name.toLowerCase(), given, tag);
    if (safe !== undefined) found[name] = safe;
  }
  return found;
}

/** The attribute's value, or nothing where it has to go. */
function safeAttribute(name: string, value: unknown, tag: string): unknown {
  if (name.startsWith("on") || name.startsWith("rr_media")) return undefined;
  if (name === "style" || name === "_csstext") return cleanText(value);
  if (value === null || value === false) return value; // it is taken away
  if (name === "href" || name === "xlink:href") {
    if (tag === "a" || tag === "area") return "#"; // it should look like a link
    return isOf(value, /^#/) || (tag !== "link" && tag !== "base" && isOf(value, PICTURE)) ? value : undefined;
  }
  if (LOADED.has(name)) return !FRAMES.has(tag) && isOf(value, PICTURE) ? value : undefined;
  return typeof value === "string" ? cleanText(value) : value; // fill="url(...)" and the like
}

function isOf(value: unknown, form: RegExp): boolean {
  return typeof value === "string" && form.test(value);
}

function cleanText(value: unknown): unknown {
  if (typeof value === "string") return safeCss(value);
  if (Array.isArray(value) || isRecord(value)) cleanTexts(value);
  return value;
}

function cleanTexts(holder: Record<string, unknown> | unknown[]): void {
  const texts = holder as Record<string, unknown>;
  for (const name of Object.keys(texts)) texts[name] = cleanText(texts[name]);
}
