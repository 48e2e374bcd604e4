// What every view has: a title, and something to say while there is nothing to show.

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import type { Answer } from "../data/use";

/** The view's heading, which is the tab's title as well. `name` is its text where the heading holds more than text. */
export function Title({ name, children }: { name: string; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = `${name} · highlight-local`;
  }, [name]);
  return <h1>{children ?? name}</h1>;
}

/** What there is instead of an answer: that it is being asked for, or why there is none. */
export function Instead({ answer }: { answer: Answer<unknown> }) {
  if (answer.error !== undefined) {
    return (
      <p class="instead failed" role="alert">
        {answer.error}
      </p>
    );
  }
  return <p class={`instead ${answer.loading ? "loading" : ""}`}>Loading …</p>;
}

export function Section({
  title,
  id,
  children,
}: {
  title: ComponentChildren;
  id?: string;
  children: ComponentChildren;
}) {
  return (
    <section id={id}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}
