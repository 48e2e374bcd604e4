// What narrows a list. It stands in the URL, so that what is seen can be shared.

import { useEffect, useRef } from "preact/hooks";
import { useLocation } from "preact-iso";
import { api } from "../data/source";
import type { List } from "../data/types";
import { useAnswer } from "../data/use";
import { localMoment } from "../text/format";

const PAUSE_MS = 250; // while somebody types

/** The URL's parameters, and what sets one of them ("" takes it away). */
export function useParameters(): [Record<string, string>, (name: string, value: string) => void] {
  const { path, query, route } = useLocation();
  const latest = useRef(query);
  latest.current = query;
  const set = (name: string, value: string) => {
    const next = new URLSearchParams(latest.current);
    if (value) next.set(name, value);
    else next.delete(name);
    route(`${path}${next.size ? `?${next}` : ""}`, true);
  };
  return [query, set];
}

interface FilterProps {
  name: string;
  label: string;
}

/** A text to search for. */
export function TextFilter({ name, label, hint }: FilterProps & { hint?: string }) {
  const [parameters, set] = useParameters();
  const field = useRef<HTMLInputElement>(null);
  const timer = useRef<number | undefined>(undefined);
  const value = parameters[name] ?? "";
  useEffect(() => {
    // What the URL says, unless it is what is being typed.
    if (field.current && document.activeElement !== field.current) field.current.value = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (text: string) => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => set(name, text), PAUSE_MS);
  };
  return (
    <label>
      <span>{label}</span>
      <input
        ref={field}
        type="search"
        defaultValue={value}
        placeholder={hint}
        maxLength={1000}
        onInput={(event) => typed(event.currentTarget.value)}
      />
    </label>
  );
}

/** One of some values. */
export function ChoiceFilter({ name, label, any, values }: FilterProps & { any: string; values: readonly string[] }) {
  const [parameters, set] = useParameters();
  const value = parameters[name] ?? "";
  const offered = value && !values.includes(value) ? [value, ...values] : values;
  return (
    <label>
      <span>{label}</span>
      <select value={value} onChange={(event) => set(name, event.currentTarget.value)}>
        <option value="">{any}</option>
        {offered.map((one) => (
          <option key={one} value={one}>
            {one}
          </option>
        ))}
      </select>
    </label>
  );
}

export function ServiceFilter() {
  const services = useAnswer<List<string>>(api("services"), { kinds: ["spans", "logs", "sessions"] });
  return <ChoiceFilter name="service" label="Service" any="all" values={services.value?.items ?? []} />;
}

/** On or not. `on`: it is, unless the URL says otherwise. */
export function FlagFilter({ name, label, on = false }: FilterProps & { on?: boolean }) {
  const [parameters, set] = useParameters();
  const other = on ? "0" : "1";
  return (
    <label class="flag">
      <input
        type="checkbox"
        checked={(parameters[name] === other) !== on}
        onChange={(event) => set(name, event.currentTarget.checked === on ? "" : other)}
      />
      <span>{label}</span>
    </label>
  );
}

/** A number of at least 0. */
export function NumberFilter({ name, label, unit }: FilterProps & { unit: string }) {
  const [parameters, set] = useParameters();
  return (
    <label>
      <span>
        {label} ({unit})
      </span>
      <input
        type="number"
        min={0}
        step="any"
        value={parameters[name] ?? ""}
        onChange={(event) => set(name, event.currentTarget.value)}
      />
    </label>
  );
}

/** A moment; in the URL in milliseconds since 1970, which are the same wherever it is opened. */
export function MomentFilter({ name, label }: FilterProps) {
  const [parameters, set] = useParameters();
  const given = Number(parameters[name]);
  return (
    <label>
      <span>{label}</span>
      <input
        type="datetime-local"
        step={1}
        value={given ? localMoment(given) : ""}
        onChange={(event) => {
          const moment = new Date(event.currentTarget.value).getTime();
          set(name, Number.isNaN(moment) ? "" : String(moment));
        }}
      />
    </label>
  );
}

/** What a link has narrowed the list to: shown, and taken away by a button. */
export function FixedFilter({ name, label }: FilterProps) {
  const [parameters, set] = useParameters();
  const value = parameters[name];
  if (!value) return null;
  return (
    <span class="fixed">
      {label} <code>{value}</code>
      <button type="button" aria-label={`Show all, whatever the ${label.toLowerCase()}`} onClick={() => set(name, "")}>
        ×
      </button>
    </span>
  );
}
