import { expect, it } from "@effect/vitest"
import * as Check from "@firebreak/core/InvalidOption"
import * as Layer from "effect/Layer"
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
