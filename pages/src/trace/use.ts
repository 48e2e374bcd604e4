import { api } from "../data/source";
import type { TraceDetail } from "../data/types";
import { useAnswer } from "../data/use";

/** A trace, as it grows. */
export function useTrace(id: string | null) {
  return useAnswer<TraceDetail>(id && api(`traces/${encodeURIComponent(id)}`), { kinds: ["spans", "errors", "logs"] });
}
