// Numbers and times as people read them.

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hour12: false,
});
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const number = new Intl.NumberFormat();

/** 14:03:07.123, with the date where it is not today. */
export function timeOfDay(ms: number, now = Date.now()): string {
  const there = clock.format(ms);
  return day.format(ms) === day.format(now) ? there : `${day.format(ms)}, ${there}`;
}

/** The whole date and time, for a tooltip. */
export function wholeTime(ms: number): string {
  return `${whole.format(ms)} (${ms})`;
}

/** As a field for date and time has it: 2030-01-31T14:03:07, here. */
export function localMoment(ms: number): string {
  const date = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 19);
}

/** 5 min ago. */
export function ago(ms: number, now = Date.now()): string {
  const seconds = (ms - now) / 1000;
  const units: [Intl.RelativeTimeFormatUnit, number][] = [
    ["day", 86_400],
    ["hour", 3600],
    ["minute", 60],
  ];
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 5 ? "now" : relative.format(Math.trunc(seconds), "second");
}

/** 0.42 ms, 12 ms, 3.4 s, 2 min 5 s. */
export function duration(ms: number): string {
  if (ms < 10) return `${number.format(Math.round(ms * 100) / 100)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${number.format(Math.round(ms / 100) / 10)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** A place on a player's scale: 1:05. */
export function position(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60) % 60;
  return seconds < 3600
    ? `${minutes}:${rest}`
    : `${Math.floor(seconds / 3600)}:${String(minutes).padStart(2, "0")}:${rest}`;
}

export function count(value: number): string {
  return number.format(value);
}

/** 3 errors, 1 error. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** 12.3 MB. */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
  return `${number.format(Math.round((value / 1000 ** power) * 10) / 10)} ${units[power]}`;
}

/** The end of a path, which tells most: shop/views.py of /srv/app/shop/views.py. */
export function shortFile(file: string): string {
  return (
    file
      .replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*\//i, "")
      .split(/[/\\]/)
      .slice(-2)
      .join("/")
      .split("?")[0] ?? file
  );
}

/** A URL without what repeats in each line: its path and query. */
export function shortUrl(url: string): string {
  try {
    const parsed = new URL(url);
    return `${parsed.pathname}${parsed.search}`;
  } catch {
    return url;
  }
}

/** Any attribute's value as one text. */
export function shown(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 1) ?? "");
}
