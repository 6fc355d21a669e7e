/** The store a program is told to use. */
import * as SqlStore from "@firebreak/sql/SqlStore"

export type StoreOptions =
  & { readonly busyTimeout?: number | undefined }
  & ({ readonly file: string } | { readonly url: string; readonly maxConnections?: number | undefined })

export const layer = ({ busyTimeout, ...where }: StoreOptions) =>
  "file" in where
    ? SqlStore.layerSqlite({ filename: where.file, busyTimeout })
    : SqlStore.layerPostgres({ url: where.url, maxConnections: where.maxConnections, busyTimeout })
