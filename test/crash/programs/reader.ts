/** Opens stores, one after the other, and says what each answers about the given runs and keys, or why it does not. */
import * as Checkpoint from "@firebreak/core/CheckpointStore"
import * as Idempotency from "@firebreak/core/IdempotencyStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Store from "./store.js"

export interface Task {
  readonly files: ReadonlyArray<string>
  readonly runs: ReadonlyArray<string>
  readonly actions: ReadonlyArray<Idempotency.Id>
}

/** An answer as text, or the failure. */
export type Answer = { readonly is: string } | { readonly failed: string }

export interface Read {
  readonly said: "read"
  readonly file: string
  /** Why it could not be opened; then there are no answers. */
  readonly refused: string | null
  readonly answers: Readonly<Record<string, Answer>>
  /** What `verify` found: of the store that is open, or of the file that was refused. */
  readonly damage: ReadonlyArray<string>
}

const task = JSON.parse(process.argv[2] ?? "") as Task

const answered = <A>(effect: Effect.Effect<A, { readonly _tag: string; readonly message: string }>) =>
  Effect.match(effect, {
    onFailure: (error): Answer => ({ failed: `${error._tag}: ${error.message}` }),
    onSuccess: (answer): Answer => ({ is: JSON.stringify(answer) })
  })

const found = (verified: Effect.Effect<ReadonlyArray<Checkpoint.Damage>, StoreError>) =>
  Effect.match(verified, {
    onFailure: (error) => [error.message],
    onSuccess: (damage) => damage.map(({ detail }) => detail)
  })

const read = (file: string) =>
  Effect.gen(function*() {
    const runs = yield* Checkpoint.CheckpointStore
    const actions = yield* Idempotency.IdempotencyStore
    const answers: Record<string, Answer> = {}
    for (const runId of task.runs) answers[`run ${runId}`] = yield* answered(runs.load(runId))
    for (const id of task.actions) {
      answers[`action ${id.operation} ${id.key}`] = yield* answered(Effect.map(
        actions.get(id),
        // who holds it is told by the clock
        Option.map(({ state: _, ...record }) => record)
      ))
    }
    const damage = runs.verify === undefined ? [] : yield* found(runs.verify)
    return { said: "read", file, refused: null, answers, damage } satisfies Read
  }).pipe(
    Effect.provide(Store.layer({ file })),
    Effect.catchAll((error) =>
      Effect.map(
        found(SqlStore.verify({ filename: file })),
        (damage): Read => ({ said: "read", file, refused: error.message, answers: {}, damage })
      )
    )
  )

for (const file of task.files) process.stdout.write(`${JSON.stringify(await Effect.runPromise(read(file)))}\n`)
