/** The store a program is told to use. */
import * as SqlStore from "@firebreak/sql/SqlStore"

export interface StoreOptions {
  readonly file: string
  readonly busyTimeout?: number | undefined
}

export const layer = ({ busyTimeout, file }: StoreOptions) => SqlStore.layerSqlite({ filename: file, busyTimeout })
