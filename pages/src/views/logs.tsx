// Log records of all services, searched and followed.

import { useLogs } from "../data/logs";
import { SEVERITIES } from "../data/types";
import {
  ChoiceFilter,
  FixedFilter,
  FlagFilter,
  MomentFilter,
  ServiceFilter,
  TextFilter,
  useParameters,
} from "../parts/filters";
import { LogLines } from "../parts/log_lines";
import { Instead, Title } from "../parts/page";
import { More } from "../parts/table";

export function LogsView() {
  const [{ text, level, service, session, trace, after, before, follow }] = useParameters();
  const narrowed = text || level || service || session || trace || after || before;
  const list = useLogs({ text, level, service, session, trace, after, before }, follow !== "0");
  return (
    <>
      <Title name="Logs" />
      <search class="filters">
        <TextFilter name="text" label="Search" hint='words and "phrases"' />
        <ChoiceFilter name="level" label="Level" any="all" values={SEVERITIES} />
        <ServiceFilter />
        <MomentFilter name="after" label="From" />
        <MomentFilter name="before" label="Until" />
        <FlagFilter name="follow" label="Follow" on />
        <FixedFilter name="session" label="Session" />
        <FixedFilter name="trace" label="Trace" />
      </search>
      <p class="newer" role="status">
        {list.newer && (
          <button type="button" onClick={list.newer}>
            Show those that have come since
          </button>
        )}
      </p>
      {list.error !== undefined || !list.value ? <Instead answer={list} /> : null}
      {list.value && list.value.length === 0 && list.error === undefined && (
        <p class="instead">{narrowed ? "No log record is like that." : "No log record has arrived."}</p>
      )}
      {list.value && list.value.length > 0 && <LogLines caption="Log records, the newest first" logs={list.value} />}
      <More more={list.more} />
    </>
  );
}
