// Errors of one type and place.

import { api } from "../data/source";
import type { ErrorGroup, ErrorItem } from "../data/types";
import { useAnswer, useList } from "../data/use";
import { Instead, Title } from "../parts/page";
import { type Column, Table } from "../parts/table";
import { ErrorText, Fact, Facts, Link, Place, Service, SessionLink, Time, TraceLink } from "../parts/text";
import { count } from "../text/format";

const COLUMNS: Column<ErrorItem>[] = [
  {
    name: "Time",
    cell: (error) => (
      <Link to={`/error/${error.id}`}>
        <Time at={error.time} />
      </Link>
    ),
  },
  { name: "Message", kind: "wide", cell: (error) => error.message },
  { name: "Service", cell: (error) => <Service name={error.service} /> },
  { name: "Session", cell: (error) => <SessionLink id={error.session_id} at={error.time} /> },
  { name: "Trace", cell: (error) => <TraceLink id={error.trace_id} span={error.span_id} /> },
];

export function GroupView({ id = "" }: { id?: string }) {
  const path = `errors/${encodeURIComponent(id)}`;
  const answer = useAnswer<ErrorGroup>(api(path), { kinds: ["errors"] });
  const list = useList<ErrorItem>(`${path}/occurrences`, {}, { kinds: ["errors"] });
  const group = answer.value;
  if (!group) {
    return (
      <>
        <Title name="Errors" />
        <Instead answer={answer} />
      </>
    );
  }
  return (
    <>
      <Title name={group.type}>
        <ErrorText of={group} />
      </Title>
      <Place of={group} />
      <Facts>
        <Fact name="Count">{count(group.count)}</Fact>
        <Fact name="Sessions">{count(group.sessions)}</Fact>
        <Fact name="Services">
          {group.services.map((name) => (
            <Service key={name} name={name} />
          ))}
        </Fact>
        <Fact name="First">
          <Time at={group.first} relative />
        </Fact>
        <Fact name="Last">
          <Time at={group.last} relative />
        </Fact>
        {group.latest !== null && (
          <Fact name="Newest">
            <Link to={`/error/${group.latest}`}>Open the newest</Link>
          </Fact>
        )}
      </Facts>
      <Table
        caption="These errors, the newest first"
        columns={COLUMNS}
        list={list}
        keyOf={(error) => error.id}
        empty={<p>None of them is kept any more.</p>}
      />
    </>
  );
}
