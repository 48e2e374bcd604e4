// Panels of which one is shown. Which one stands in the URL.

import type { ComponentChildren } from "preact";
import { useParameters } from "./filters";

export interface Tab {
  id: string;
  name: string;
  /** How much is in it. */
  count?: string | undefined;
  bad?: boolean;
  panel: () => ComponentChildren;
}

export function Tabs({ name, tabs }: { name: string; tabs: Tab[] }) {
  const [parameters, set] = useParameters();
  const shown = tabs.find(({ id }) => id === parameters.tab) ?? tabs[0];
  if (!shown) return null;
  const onKey = (event: KeyboardEvent) => {
    const at = tabs.indexOf(shown);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    const next = to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
    if (!next) return;
    event.preventDefault();
    set("tab", next.id);
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  return (
    <div class="tabs">
      <div role="tablist" aria-label={name} tabIndex={-1} onKeyDown={onKey}>
        {tabs.map((tab) => (
          <button
            key={tab.id}
            type="button"
            role="tab"
            id={`tab-${tab.id}`}
            aria-selected={tab === shown}
            aria-controls={`panel-${tab.id}`}
            tabIndex={tab === shown ? 0 : -1}
            onClick={() => set("tab", tab.id)}
          >
            {tab.name}
            {tab.count !== undefined && <span class={tab.bad ? "status bad" : "faint"}>{tab.count}</span>}
          </button>
        ))}
      </div>
      <div key={shown.id} role="tabpanel" id={`panel-${shown.id}`} aria-labelledby={`tab-${shown.id}`}>
        {shown.panel()}
      </div>
    </div>
  );
}
