// The sessions of browsers, and those that only services have told of.

import type { SessionItem } from "../data/types";
import { useList } from "../data/use";
import { FlagFilter, TextFilter, useParameters } from "../parts/filters";
import { Title } from "../parts/page";
import { Start } from "../parts/start";
import { type Column, Table } from "../parts/table";
import { Id, Service, Time } from "../parts/text";
import { count, duration, shortUrl } from "../text/format";

const COLUMNS: Column<SessionItem>[] = [
  {
    name: "Session",
    kind: "wide",
    cell: (session) => (
      <>
        <a href={`/sessions/${encodeURIComponent(session.id)}`}>
          <strong>{session.user_identifier || "Unknown user"}</strong>
        </a>{" "}
        <Id value={session.id} />
        <span class="place" title={session.url ?? undefined}>
          {session.url ? shortUrl(session.url) : session.events ? "" : "no page has been seen"}
        </span>
      </>
    ),
  },
  { name: "Service", cell: (session) => <Service name={session.service} /> },
  {
    name: "Errors",
    kind: "number",
    cell: (session) => <span class={session.errors ? "status bad" : "faint"}>{count(session.errors)}</span>,
  },
  { name: "Requests", kind: "number", cell: (session) => count(session.network) },
  { name: "Pages", kind: "number", cell: (session) => count(session.pages) },
  { name: "Duration", kind: "number", cell: (session) => duration(session.last - session.first) },
  { name: "Last seen", cell: (session) => <Time at={session.last} relative /> },
];

export function SessionsView() {
  const [{ text, failed }] = useParameters();
  const list = useList<SessionItem>("sessions", { text, failed: failed === "1" }, { kinds: ["sessions"] });
  return (
    <>
      <Title name="Sessions" />
      <search class="filters">
        <TextFilter name="text" label="Search" hint="a part of the user, or the beginning of the id" />
        <FlagFilter name="failed" label="With errors" />
      </search>
      <Table
        caption="Sessions, those that were seen last first"
        columns={COLUMNS}
        list={list}
        keyOf={(session) => session.id}
        empty={<p>{text || failed ? "No session is like that." : "No session has been seen."}</p>}
      />
      <Start />
    </>
  );
}
