// Small pieces that say one thing each.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isExported } from "../data/source";
import type { Attributes, ErrorItem, Severity } from "../data/types";
import { ago, shortFile, shown, timeOfDay, wholeTime } from "../text/format";

interface LinkProps {
  to: string | undefined;
  class?: string;
  title?: string;
  label?: string;
  children: ComponentChildren;
}

/** A link to another view; an exported file holds one alone, so that there it is its text. */
export function Link({ to, class: kind, title, label, children }: LinkProps) {
  if (to === undefined || isExported) {
    return (
      <span class={kind} title={title}>
        {children}
      </span>
    );
  }
  return (
    <a class={kind} href={to} title={title} aria-label={label}>
      {children}
    </a>
  );
}

/** A time of the day; `relative`: how long ago, kept true. */
export function Time({ at, relative }: { at: number; relative?: boolean }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!relative) return;
    const timer = setInterval(() => tick((n) => n + 1), 10_000);
    return () => clearInterval(timer);
  }, [relative]);
  return (
    <time dateTime={new Date(at).toISOString()} title={wholeTime(at)}>
      {relative ? ago(at) : timeOfDay(at)}
    </time>
  );
}

export function Level({ severity }: { severity: Severity }) {
  return <span class={`level ${severity.toLowerCase()}`}>{severity}</span>;
}

/** An HTTP status, or that there was none. */
export function Status({ status }: { status: number | null }) {
  const kind = status === null || status === 0 ? "none" : status >= 500 ? "bad" : status >= 400 ? "doubtful" : "good";
  return <span class={`status ${kind}`}>{status || "none"}</span>;
}

export function Service({ name }: { name: string | null }) {
  return name ? <span class="service">{name}</span> : null;
}

/** An id, short to look at and whole to copy. */
export function Id({ value, to }: { value: string; to?: string }) {
  const text = value.length > 14 ? `${value.slice(0, 12)}…` : value;
  return (
    <Link class="id" to={to} title={value}>
      {text}
    </Link>
  );
}

export function SessionLink({ id, at }: { id: string | null; at?: number }) {
  return id ? <Id value={id} to={`/sessions/${encodeURIComponent(id)}${at ? `?at=${Math.round(at)}` : ""}`} /> : null;
}

export function TraceLink({ id, span }: { id: string | null; span?: string | null }) {
  return id ? (
    <Id value={id} to={`/traces/${encodeURIComponent(id)}${span ? `?span=${encodeURIComponent(span)}` : ""}`} />
  ) : null;
}

/** Where an error happened. */
export function Place({ of }: { of: Pick<ErrorItem, "file" | "line" | "function"> }) {
  if (!of.file) return null;
  return (
    <code class="place" title={`${of.file}:${of.line}`}>
      {shortFile(of.file)}:{of.line}
      {of.function && <span class="faint"> {of.function}</span>}
    </code>
  );
}

/** Type and message of an error. */
export function ErrorText({ of, to }: { of: Pick<ErrorItem, "type" | "message">; to?: string }) {
  return (
    <span class="error-text">
      <Link to={to}>
        <strong class="type">{of.type}</strong>
      </Link>{" "}
      <span class="message">{of.message}</span>
    </span>
  );
}

/** What is known of something, in one line: names and values, those that there are. */
export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="fact-list">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  if (children === null || children === undefined || children === "" || children === false) return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Attributes as a list of names and values. */
export function AttributeList({ of, empty }: { of: Attributes; empty?: string }) {
  const names = Object.keys(of).sort();
  if (names.length === 0) return empty ? <p class="faint">{empty}</p> : null;
  return (
    <dl class="attributes">
      {names.map((name) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{shown(of[name])}</dd>
        </div>
      ))}
    </dl>
  );
}

interface CopyProps {
  text: string;
  children?: ComponentChildren;
  onDone?: () => void;
}

/** A button that copies a text, and says that it has. */
export function Copy({ text, children = "Copy", onDone }: CopyProps) {
  const [done, tell] = useState("");
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => tell(""), 2000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => {
    onDone?.();
    navigator.clipboard.writeText(text).then(
      () => tell("Copied"),
      () => tell("The browser does not allow it"),
    );
  };
  return (
    <>
      <button type="button" class="copy" onClick={copy}>
        {children}
      </button>
      <span role="status" class="faint">
        {done}
      </span>
    </>
  );
}
