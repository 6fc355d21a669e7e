import { expect, it } from "@effect/vitest"
import * as Check from "@firebreak/core/InvalidOption"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as ClusterEngine from "../src/ClusterEngine.js"
import * as ClusterRunner from "../src/ClusterRunner.js"

const url = "postgres://localhost/firebreak"
const runner = { host: "10.0.0.7", port: 34431 }

/** Constructors by what their faults name. */
const rows: ReadonlyArray<readonly [module: string, make: (options: object) => unknown]> = [
  ["ClusterEngine", (options) => ClusterEngine.layer({ url, runner, ...options })],
  ["ClusterEngine", (options) => ClusterEngine.layerRunner({ url, runner, ...options })],
  ["ClusterEngine", (options) => ClusterEngine.layerClient({ url, ...options })],
  ["ClusterEngine.migrate", (options) => ClusterEngine.migrate({ url, ...options })],
  ["ClusterEngine.runner", (options) => ClusterEngine.layer({ url, runner: { ...runner, ...options } })],
  ["ClusterRunner", (options) => ClusterRunner.layer({ workflows: Layer.empty, database: url, ...runner, ...options })]
]

it.each(rows)("%s refuses an option that there is not", (module, make) => {
  make({})
  expect(() => make({ mistyped: 1 })).toThrow(Check.InvalidOption)
  expect(() => make({ mistyped: 1 })).toThrow(`${module}: there is no option "mistyped", there are`)
})

it.each(["runner", "listen"])("ClusterEngine refuses ports that there are not: %s", (option) => {
  const make = (port: number) => ClusterEngine.layer({ url, runner, [option]: { host: "10.0.0.7", port } })
  for (const port of [1, 65_535]) make(port)
  for (const port of [0, -1, 1.5, NaN, 65_536, 99_999]) {
    expect(() => make(port)).toThrow(Check.InvalidOption)
    expect(() => make(port)).toThrow(`ClusterEngine: ${option}.port must be`)
    expect(() => make(port)).toThrow(`got ${port}`)
  }
})

it.each<[module: string, make: (url: string | Redacted.Redacted) => unknown]>([
  ["ClusterEngine", (url) => ClusterEngine.layer({ url, runner })],
  ["ClusterEngine", (url) => ClusterEngine.layerClient({ url })],
  ["ClusterEngine.migrate", (url) => ClusterEngine.migrate({ url })]
])("%s refuses what is no URL of a database, and does not show it", (module, make) => {
  const taken = [
    url,
    "postgresql://me:secret@localhost:5432/firebreak",
    "postgres:///firebreak?host=/run/postgresql",
    "postgres://me@/firebreak?host=/run/postgresql"
  ]
  for (const url of taken) {
    make(url)
    make(Redacted.make(url))
  }
  for (const url of ["", "secret", "mysql://secret/a", "postgres://me:secret@host:port/a", "postgres://[secret/a"]) {
    for (const given of [url, Redacted.make(url)]) {
      expect(() => make(given)).toThrow(Check.InvalidOption)
      expect(() => make(given)).toThrow(`${module}: url must be a URL that begins with postgres:// or postgresql://`)
      expect(() => make(given)).not.toThrow("secret")
    }
  }
  expect(() => make(undefined as never)).toThrow(Check.InvalidOption)
})
