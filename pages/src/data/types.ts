// What the JSON API answers (highlight_autoinstrument/local/api.py and queries.py). Times are milliseconds since 1970,
// durations are milliseconds, both with fractions.

export interface List<Item> {
  items: Item[];
  /** The cursor of those that follow. */
  next: string | null;
}

export interface Logs extends List<Log> {
  /** The id of the newest record, to follow from. */
  last: number;
}

export interface State {
  bytes: number;
  spans: number;
  logs: number;
  errors: number;
  sessions: number;
}

export type Attributes = Record<string, unknown>;

export interface ErrorGroup {
  id: string;
  type: string;
  message: string;
  file: string;
  line: number;
  function: string;
  count: number;
  first: number;
  last: number;
  services: string[];
  sessions: number;
  /** The id of the newest of its errors. */
  latest: number | null;
}

export interface ErrorItem {
  id: number;
  time: number;
  group_id: string;
  type: string;
  message: string;
  file: string;
  line: number;
  function: string;
  /** What it came with: a span, a log record or the browser. */
  source: string;
  service: string;
  session_id: string | null;
  trace_id: string | null;
  span_id: string | null;
  request_id: string | null;
  url: string;
}

export interface Frame {
  file: string;
  line: number;
  function: string;
  source: string;
  /** Whether it is the application's, as far as its file tells. */
  own: boolean;
}

export interface ErrorDetail extends ErrorItem {
  stack: string;
  /** The innermost first. */
  frames: Frame[];
  attributes: Attributes;
  resource: Attributes;
  previous: number | null;
  following: number | null;
  /** The span that it happened in. */
  span: Span | null;
  /** The first server or consumer span of its trace. */
  request: Span | null;
  logs: Log[];
  /** Where it is in its session's replay; null where nothing was recorded. */
  moment: { offset: number; recorded: boolean } | null;
}

export interface Span {
  trace_id: string;
  span_id: string;
  parent_id: string | null;
  name: string;
  kind: "unspecified" | "internal" | "server" | "client" | "producer" | "consumer";
  status: "unset" | "ok" | "error";
  status_message: string;
  service: string;
  session_id: string | null;
  request_id: string | null;
  start: number;
  duration: number;
  attributes: Attributes;
  events: { time: number; name: string; attributes: Attributes }[];
  links: { trace_id: string; span_id: string; attributes: Attributes }[];
  resource_id: string;
}

export interface TraceItem {
  trace_id: string;
  name: string;
  service: string;
  session_id: string | null;
  spans: number;
  /** How many of its spans failed. */
  failed: number;
  start: number;
  duration: number;
}

export interface TraceDetail extends TraceItem {
  /** Its spans in the order of their starts. */
  items: Span[];
  more_spans: boolean;
  resources: Record<string, Attributes>;
  errors: ErrorItem[];
  logs: Log[];
  more_logs: boolean;
  /** The browser's requests that it belongs to. */
  requests: { id: number; session_id: string; method: string; url: string }[];
}

export interface Log {
  id: number;
  time: number;
  level: number;
  severity: Severity;
  service: string;
  logger: string;
  body: string;
  session_id: string | null;
  trace_id: string | null;
  span_id: string | null;
  request_id: string | null;
  attributes: Attributes;
}

export const SEVERITIES = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface SessionItem {
  id: string;
  service: string | null;
  environment: string | null;
  version: string | null;
  user_agent: string | null;
  user_identifier: string | null;
  /** How many events its replay has. */
  events: number;
  first: number;
  last: number;
  /** The first page that it was on. */
  url: string | null;
  errors: number;
  network: number;
  pages: number;
}

export interface SessionDetail extends Omit<SessionItem, "pages"> {
  user: Attributes;
  properties: Attributes;
  client_id: string | null;
  pages: { time: number; url: string }[];
  replay: { first: number; last: number } | null;
}

export interface NetworkItem {
  id: number;
  kind: string;
  method: string;
  url: string;
  status: number | null;
  request_id: string | null;
  start: number;
  duration: number;
  traces: string[];
  errors: ErrorItem[];
  /** How many log records the backends wrote for it. */
  logs: number;
}

/** A request as the browser's client recorded it. */
export interface NetworkRecord {
  id: number;
  data: Attributes;
}

/** What a live event tells to have come: the numbers of new rows, and the sessions that they are of. */
export interface Told {
  rows: Partial<Record<Exclude<Kind, "sessions">, number>>;
  sessions: string[];
}
export type Kind = "spans" | "logs" | "errors" | "chunks" | "network" | "pages" | "sessions";
