// A session: what its pages showed, and beside it what happened at each moment.

import { useMemo, useRef, useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { api, isExported } from "../data/source";
import type { ErrorItem, Log, NetworkItem, SessionDetail } from "../data/types";
import { useAnswer, useWhole } from "../data/use";
import { useParameters } from "../parts/filters";
import { Moments, type Playhead } from "../parts/moments";
import { Instead, Title } from "../parts/page";
import { hasFailed, RequestRow, requestName } from "../parts/requests";
import { Tabs } from "../parts/tabs";
import { AttributeList, Copy, ErrorText, Fact, Facts, Id, Level, Place, Service, Time } from "../parts/text";
import type { Mark } from "../replay/marks";
import { Replay } from "../replay/replay";
import { count, duration, shortUrl } from "../text/format";

export function SessionView() {
  const { params } = useRoute();
  const id = params.id ?? "";
  const path = `sessions/${encodeURIComponent(id)}`;
  const answer = useAnswer<SessionDetail>(api(path), { kinds: ["sessions"], session: id });
  const session = answer.value;
  if (!session) {
    return (
      <>
        <Title name="Session" />
        <Instead answer={answer} />
      </>
    );
  }
  return <Session key={id} session={session} path={path} />;
}

function Session({ session, path }: { session: SessionDetail; path: string }) {
  const [parameters, set] = useParameters();
  const at = Number(parameters.at) || undefined;
  const network = useWhole<NetworkItem>(`${path}/network`, {
    kinds: ["network", "errors", "spans", "logs"],
    session: session.id,
  });
  const console = useWhole<Log>(`${path}/console`, { kinds: ["logs"], session: session.id });
  const errors = useWhole<ErrorItem>(`${path}/errors`, { kinds: ["errors"], session: session.id });
  const marks = useMemo(() => marksOf(network.value, errors.value), [network.value, errors.value]);

  const control = useRef<((at: number) => void) | null>(null);
  const [shown, setShown] = useState<{ now: number; start: number }>();
  // Until the replay stands, it is known where it will.
  const begin = session.replay && { now: at ?? session.replay.first, start: session.replay.first };
  const head = shown ?? begin;
  const playhead: Playhead | null = head && { ...head, seek: (moment) => control.current?.(moment) };
  const now = Math.round(shown?.now ?? 0);
  const name = session.user_identifier || "an unknown user";
  const beside = { session, playhead };

  return (
    <>
      <Title name={`Session of ${name}`} />
      <SessionFacts session={session} />
      <div class="beside">
        <Replay
          session={session.id}
          at={at}
          marks={marks}
          control={control}
          onTime={(moment, start) => setShown({ now: moment, start })}
        >
          {shown && !isExported && (
            <Copy text={momentUrl(session.id, now, parameters.tab)} onDone={() => set("at", String(now))}>
              Copy link to this moment
            </Copy>
          )}
        </Replay>
        <Tabs
          name="What happened"
          tabs={[
            {
              id: "network",
              name: "Network",
              count: counted(network.value),
              bad: network.value?.some(hasFailed) ?? false,
              panel: () => (
                <Moments
                  name="Network requests"
                  answer={network}
                  playhead={playhead}
                  keyOf={(item) => item.id}
                  timeOf={(item) => item.start}
                  row={(item) => <RequestRow of={item} session={session.id} />}
                  classOf={(item) => (hasFailed(item) ? "bad" : "")}
                  empty="The browser has recorded no request."
                />
              ),
            },
            {
              id: "console",
              name: "Console",
              count: counted(console.value),
              panel: () => (
                <Moments
                  name="Console"
                  answer={console}
                  playhead={playhead}
                  keyOf={(log) => log.id}
                  timeOf={(log) => log.time}
                  row={(log) => (
                    <>
                      <Level severity={log.severity} /> <span class="console-text">{log.body}</span>
                    </>
                  )}
                  empty="Nothing was written to the console."
                />
              ),
            },
            {
              id: "errors",
              name: "Errors",
              count: counted(errors.value),
              bad: (errors.value?.length ?? 0) > 0,
              panel: () => (
                <Moments
                  name="All errors"
                  answer={errors}
                  playhead={playhead}
                  keyOf={(error) => error.id}
                  timeOf={(error) => error.time}
                  row={(error) => (
                    <>
                      <ErrorText of={error} to={`/error/${error.id}`} />{" "}
                      <Service name={error.service || (error.source === "browser" ? "browser" : null)} />
                      <Place of={error} />
                    </>
                  )}
                  empty="No error has happened."
                />
              ),
            },
            { id: "pages", name: "Pages", count: count(session.pages.length), panel: () => <Pages {...beside} /> },
            { id: "about", name: "About", panel: () => <About session={session} /> },
          ]}
        />
      </div>
    </>
  );
}

function counted(items: unknown[] | undefined): string | undefined {
  return items && count(items.length);
}

function momentUrl(id: string, now: number, tab: string | undefined): string {
  const query = new URLSearchParams({ ...(tab && { tab }), at: String(now) });
  return `${location.origin}/sessions/${encodeURIComponent(id)}?${query}`;
}

function marksOf(network: NetworkItem[] = [], errors: ErrorItem[] = []): Mark[] {
  return [
    ...network.map(
      (item): Mark => ({
        lane: "Requests",
        time: item.start,
        label: `${requestName(item)}${item.status ? `, ${item.status}` : ""}`,
        bad: hasFailed(item),
      }),
    ),
    ...errors.map(
      ({ time, type, message }): Mark => ({
        lane: "Errors",
        time,
        label: `${type}: ${message.slice(0, 100)}`,
        bad: true,
      }),
    ),
  ];
}

/** What one wants to know of a session before anything else. */
function SessionFacts({ session }: { session: SessionDetail }) {
  const { id, service, environment, version, first, last, url } = session;
  return (
    <Facts>
      <Fact name="Session">
        <Id value={id} />
      </Fact>
      <Fact name="Service">{service && <Service name={service} />}</Fact>
      <Fact name="Environment">{environment}</Fact>
      <Fact name="Version">{version}</Fact>
      <Fact name="Began">
        <Time at={first} />
      </Fact>
      <Fact name="Lasted">{duration(last - first)}</Fact>
      <Fact name="First page">{url && <code title={url}>{shortUrl(url)}</code>}</Fact>
    </Facts>
  );
}

function Pages({ session, playhead }: { session: SessionDetail; playhead: Playhead | null }) {
  return (
    <Moments
      name="All pages"
      answer={{ value: session.pages, error: undefined, loading: false }}
      playhead={playhead}
      keyOf={(page) => `${page.time} ${page.url}`}
      timeOf={(page) => page.time}
      row={(page) => <code class="url">{page.url}</code>}
      empty="No page has been seen."
    />
  );
}

function About({ session }: { session: SessionDetail }) {
  const within = `session=${encodeURIComponent(session.id)}`;
  const browser = {
    ...(session.user_agent && { browser: session.user_agent }),
    ...(session.client_id && { client: session.client_id }),
  };
  return (
    <div class="about">
      <p>
        All of this session: <a href={`/errors?${within}`}>errors by place</a>, <a href={`/traces?${within}`}>traces</a>
        , <a href={`/logs?${within}`}>logs</a>
      </p>
      <h2>User</h2>
      <AttributeList of={session.user} empty="The page has not told who it is." />
      <h2>Properties</h2>
      <AttributeList of={session.properties} empty="None." />
      <h2>Browser</h2>
      <AttributeList of={browser} empty="No browser has been seen." />
    </div>
  );
}
