// A list of the API as a table, with what follows on demand.

import type { ComponentChildren } from "preact";
import type { ListAnswer } from "../data/use";
import { Instead } from "./page";

export interface Column<T> {
  name: string;
  /** `number` is set flush right. */
  kind?: "number" | "wide";
  cell: (item: T) => ComponentChildren;
}

interface TableProps<T> {
  /** What the rows are, for those who cannot see it. */
  caption: string;
  columns: Column<T>[];
  list: ListAnswer<T>;
  keyOf: (item: T) => string | number;
  /** What is said when there is none. */
  empty: ComponentChildren;
  classOf?: (item: T) => string;
}

export function Table<T>({ caption, columns, list, keyOf, empty, classOf }: TableProps<T>) {
  const items = list.value;
  if (items === undefined) return <Instead answer={list} />;
  if (items.length === 0 && list.error === undefined) return <div class="instead">{empty}</div>;
  return (
    <>
      {list.error !== undefined && <Instead answer={list} />}
      <div class="scrolled">
        <table>
          <caption class="unseen">{caption}</caption>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column.name} scope="col" class={column.kind}>
                  {column.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {items.map((item) => (
              <tr key={keyOf(item)} class={classOf?.(item)}>
                {columns.map((column) => (
                  <td key={column.name} class={column.kind}>
                    {column.cell(item)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <More more={list.more} />
    </>
  );
}

export function More({ more }: { more: (() => void) | null }) {
  if (!more) return null;
  return (
    <p class="more">
      <button type="button" onClick={more}>
        Show more
      </button>
    </p>
  );
}
