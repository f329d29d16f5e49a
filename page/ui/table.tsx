import type { ComponentChildren } from "preact";
import type { Pages } from "../core/use_calls";
import { Empty, Loaded } from "./state";

export interface Column<T> {
  name: string;
  show: (row: T) => ComponentChildren;
  /** Numbers are aligned at their end. */
  number?: boolean;
}

/** A table of rows. On narrow screens each row becomes a list of its cells. */
export function Table<T>({
  caption,
  columns,
  rows,
  rowKey,
}: {
  caption: string;
  columns: Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string;
}) {
  return (
    <table>
      <caption class="hidden">{caption}</caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.name} scope="col" class={column.number ? "number" : undefined}>
              {column.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={rowKey(row)}>
            {columns.map((column) => (
              <td
                key={column.name}
                data-name={column.name}
                class={column.number ? "number" : undefined}
              >
                <div>{column.show(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A table that is read page by page. `empty` is shown where there is nothing. */
export function PagedTable<T>({
  pages,
  empty,
  filter = () => true,
  ...table
}: {
  caption: string;
  columns: Column<T>[];
  pages: Pages<T>;
  rowKey: (row: T) => string;
  empty: ComponentChildren;
  filter?: (row: T) => boolean;
}) {
  return (
    <Loaded loading={pages.loading} reload={pages.reload}>
      {(items) => {
        const rows = items.filter(filter);
        return (
          <>
            {rows.length ? <Table {...table} rows={rows} /> : <Empty>{empty}</Empty>}
            {pages.more && (
              <p>
                <button type="button" onClick={pages.more}>
                  Show more
                </button>
              </p>
            )}
          </>
        );
      }}
    </Loaded>
  );
}
