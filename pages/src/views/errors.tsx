// Errors, grouped by their type and place.

import type { ErrorGroup } from "../data/types";
import { useList } from "../data/use";
import { FixedFilter, ServiceFilter, TextFilter, useParameters } from "../parts/filters";
import { Title } from "../parts/page";
import { Start } from "../parts/start";
import { type Column, Table } from "../parts/table";
import { ErrorText, Place, Service, Time } from "../parts/text";
import { count } from "../text/format";

const COLUMNS: Column<ErrorGroup>[] = [
  {
    name: "Error",
    kind: "wide",
    cell: (group) => (
      <>
        <ErrorText of={group} to={`/errors/${group.id}`} />
        <Place of={group} />
      </>
    ),
  },
  { name: "Count", kind: "number", cell: (group) => count(group.count) },
  { name: "Sessions", kind: "number", cell: (group) => count(group.sessions) },
  { name: "Services", cell: (group) => group.services.map((name) => <Service key={name} name={name} />) },
  { name: "First", cell: (group) => <Time at={group.first} relative /> },
  {
    name: "Last",
    cell: (group) => (
      <a href={`/error/${group.latest}`} aria-label="The newest of these errors">
        <Time at={group.last} relative />
      </a>
    ),
  },
];

export function ErrorsView() {
  const [{ text, service, session }] = useParameters();
  const list = useList<ErrorGroup>("errors", { text, service, session }, { kinds: ["errors"] });
  const narrowed = text || service || session;
  return (
    <>
      <Title name="Errors" />
      <search class="filters">
        <TextFilter name="text" label="Search" hint="words of type and message" />
        <ServiceFilter />
        <FixedFilter name="session" label="Session" />
      </search>
      <Table
        caption="Errors by type and place, the newest first"
        columns={COLUMNS}
        list={list}
        keyOf={(group) => group.id}
        empty={<p>{narrowed ? "No error is like that." : "No error has arrived."}</p>}
      />
      <Start />
    </>
  );
}
