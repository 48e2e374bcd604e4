// Where answers come from: the server, or, in an exported file, the file itself.

/** The server says no; `message` is its line. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    line: string,
  ) {
    super(line);
  }
}

const embedded = document.getElementById("answers");
const answers: Record<string, unknown> | null = embedded ? JSON.parse(embedded.textContent ?? "{}") : null;

/** Whether this is an exported file: there is no server, and nothing will come. */
export const isExported = answers !== null;

/** The answer to a path of the JSON API. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await askWhole<T>(path, signal)).value;
}

/** The answer with its headers, of which an exported file has none. */
export async function askWhole<T>(path: string, signal?: AbortSignal): Promise<{ value: T; headers: Headers }> {
  if (answers !== null) {
    if (!(path in answers)) throw new Refused(404, "this is not in the exported file");
    return { value: answers[path] as T, headers: new Headers() };
  }
  const response = await fetch(path, { headers: { accept: "application/json" }, ...(signal && { signal }) });
  const told = response.headers.get("content-type")?.startsWith("application/json")
    ? await response.json()
    : { error: await response.text() };
  if (!response.ok) throw new Refused(response.status, told.error ?? response.statusText);
  return { value: told as T, headers: response.headers };
}

/** A path of the API with its parameters, those that are set, in their order. */
export function api(
  path: string,
  parameters: Record<string, string | number | boolean | null | undefined> = {},
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === true) query.set(name, "1");
    else if (value !== undefined && value !== null && value !== "" && value !== false) query.set(name, String(value));
  }
  return `/api/${path}${query.size ? `?${query}` : ""}`;
}
