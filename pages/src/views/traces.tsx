// Traces: what happened behind one request, or one task, in all services.

import type { TraceItem } from "../data/types";
import { useList } from "../data/use";
import { FixedFilter, FlagFilter, NumberFilter, ServiceFilter, TextFilter, useParameters } from "../parts/filters";
import { Title } from "../parts/page";
import { type Column, Table } from "../parts/table";
import { Link, Service, SessionLink, Time } from "../parts/text";
import { count, duration } from "../text/format";

const COLUMNS: Column<TraceItem>[] = [
  {
    name: "Trace",
    kind: "wide",
    cell: (trace) => <Link to={`/traces/${encodeURIComponent(trace.trace_id)}`}>{trace.name || "(no name)"}</Link>,
  },
  { name: "Service", cell: (trace) => <Service name={trace.service} /> },
  { name: "Duration", kind: "number", cell: (trace) => duration(trace.duration) },
  { name: "Spans", kind: "number", cell: (trace) => count(trace.spans) },
  {
    name: "Failed",
    kind: "number",
    cell: (trace) => (trace.failed ? <span class="status bad">{count(trace.failed)}</span> : ""),
  },
  { name: "Session", cell: (trace) => <SessionLink id={trace.session_id} at={trace.start} /> },
  { name: "Start", cell: (trace) => <Time at={trace.start} /> },
];

export function TracesView() {
  const [{ text, service, session, failed, slower }] = useParameters();
  const list = useList<TraceItem>("traces", { text, service, session, failed, slower }, { kinds: ["spans"] });
  const narrowed = text || service || session || failed || slower;
  return (
    <>
      <Title name="Traces" />
      <search class="filters">
        <TextFilter name="text" label="Search" hint="a part of the name" />
        <ServiceFilter />
        <NumberFilter name="slower" label="Slower than" unit="ms" />
        <FlagFilter name="failed" label="Failed" />
        <FixedFilter name="session" label="Session" />
      </search>
      <Table
        caption="Traces, the newest first"
        columns={COLUMNS}
        list={list}
        keyOf={(trace) => trace.trace_id}
        empty={<p>{narrowed ? "No trace is like that." : "No trace has arrived."}</p>}
      />
    </>
  );
}
