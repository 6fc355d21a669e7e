/** Looks through all records on PostgreSQL for damage, some at a time. */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import * as Actions from "./actionStatements.js"
import type { PostgresClient } from "./PostgresClient.js"
import { parse, type ReadRow } from "./runRows.js"
import * as Runs from "./runStatements.js"

export const verify = (client: PostgresClient): Effect.Effect<ReadonlyArray<CheckpointStore.Damage>, StoreError> =>
  Effect.gen(function*() {
    const damage: Array<CheckpointStore.Damage> = []
    const runs = Runs.make(client.schema)
    const actions = Actions.make(client.schema)

    for (const { runId } of yield* client.query<Named>("verify", runs.orphans, [])) {
      damage.push({ runId, detail: `there are steps of run "${runId}", and the run itself is lost` })
    }
    let names: ReadonlyArray<Named>
    let after = ""
    do {
      names = yield* client.query<Named>("verify", runs.page, [after, pageSize])
      for (const { runId } of names) {
        const [row] = yield* client.query<ReadRow>("verify", runs.read, [runId])
        if (row === undefined) continue
        yield* Effect.catchAll(
          parse(client, "verify", row),
          ({ detail }) => Effect.sync(() => damage.push({ runId, detail }))
        )
      }
      after = names.at(-1)?.runId ?? ""
    } while (names.length === pageSize)

    let rows: ReadonlyArray<Actions.Row>
    let last = ["", "", ""]
    do {
      rows = yield* client.query<Actions.Row>("verify", actions.page, [...last, pageSize])
      for (const row of rows) {
        try {
          Actions.verified(row)
        } catch (error) {
          damage.push({ runId: null, detail: (error as Error).message })
        }
        last = [row.scope, row.operation, row.key]
      }
    } while (rows.length === pageSize)
    return damage
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

interface Named {
  readonly runId: string
}

const pageSize = 500
