/** One PostgreSQL server for a test file: started before its tests, stopped after them. */
import { afterAll, beforeAll, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Postgres from "./postgres.js"

/** Registers tests that use a server; they are skipped where there is none. */
export const withServer = (
  name: string,
  tests: (server: () => Postgres.Postgres) => void,
  options?: Postgres.Options
) =>
  describe.skipIf(Postgres.unavailable !== undefined)(name, () => {
    const scope = Effect.runSync(Scope.make())
    let server: Postgres.Postgres | undefined
    beforeAll(async () => {
      server = await Effect.runPromise(Scope.extend(Postgres.make(options), scope))
    }, 30_000)
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
    tests(() => {
      if (server === undefined) throw new Error("the server runs only within a test")
      return server
    })
  })
