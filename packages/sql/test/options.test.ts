import { expect, it } from "@effect/vitest"
import * as Check from "@firebreak/core/InvalidOption"
import * as SqlHealthCheck from "@firebreak/sql/SqlHealthCheck"
import * as SqlStore from "@firebreak/sql/SqlStore"

const filename = "data/firebreak.db"

/** Constructors by what their faults name. */
const rows: ReadonlyArray<readonly [module: string, make: (options: object) => unknown]> = [
  ["SqlStore", (options) => SqlStore.layerSqlite({ filename, ...options })],
  ["SqlStore", (options) => SqlStore.layerPostgres(options)],
  ["SqlStore.verify", (options) => SqlStore.verify({ filename, ...options })],
  ["SqlHealthCheck", (options) => SqlHealthCheck.pool({ below: "1 second", ...options })]
]

it.each(rows)("%s refuses an option that there is not, and does not show its value", (module, make) => {
  make({})
  expect(() => make({ pasword: "secret" })).toThrow(Check.InvalidOption)
  expect(() => make({ pasword: "secret" })).toThrow(`${module}: there is no option "pasword", there are`)
  expect(() => make({ pasword: "secret" })).not.toThrow("secret")
})

it("SqlStore refuses what it does not know to do about damage", () => {
  for (const onDamage of ["refuse", "isolate", undefined] as const) SqlStore.layerSqlite({ filename, onDamage })
  expect(() => SqlStore.layerSqlite({ filename, onDamage: "isolated" as never })).toThrow(
    "SqlStore: onDamage must be one of \"refuse\", \"isolate\", got \"isolated\""
  )
})

it("SqlStore refuses ports that there are not", () => {
  for (const port of [1, 5432, 65_535, undefined]) SqlStore.layerPostgres({ port })
  for (const port of [0, -1, 1.5, 65_536, 99_999, NaN]) {
    expect(() => SqlStore.layerPostgres({ port })).toThrow(Check.InvalidOption)
    expect(() => SqlStore.layerPostgres({ port })).toThrow(
      `SqlStore: port must be a whole number from 1 to 65535, got ${port}`
    )
  }
})
