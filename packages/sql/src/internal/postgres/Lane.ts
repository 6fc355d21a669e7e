/**
 * Group commit: what is asked for while a batch is under way goes into the next one, in one statement and one round
 * trip. One at a time a batch has one request, and nobody waits for company.
 *
 * Where a batch fails for the data of one request, each is asked for by itself; where it fails for anything else, all fail
 * with it.
 *
 * An interrupted caller stops waiting. What was not sent by then is not; what was may be done, and `abandoned` hears of
 * it.
 */
import type { StoreError } from "@firebreak/core/StoreError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { isDataFault } from "./PostgresClient.js"

export interface Lane<Request, Answer> {
  readonly ask: (request: Request, abandoned?: (answer: Answer) => void) => Effect.Effect<Answer, StoreError>
  /** Asks without waiting; nobody hears whether it failed. */
  readonly tell: (request: Request) => void
}

/** Answers a batch, in its order. */
export type Batch<Request, Answer> = (
  requests: ReadonlyArray<Request>
) => Effect.Effect<ReadonlyArray<Exit.Exit<Answer, StoreError>>, StoreError>

/** Until its scope closes, which waits for what was asked before. */
export const make = <Request, Answer>(
  batch: Batch<Request, Answer>,
  closed: () => StoreError
): Effect.Effect<Lane<Request, Answer>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Entry<Request, Answer> | null>()
    let open = true

    const answer = (entries: ReadonlyArray<Entry<Request, Answer>>): Effect.Effect<void> =>
      Effect.matchCauseEffect(batch(entries.map(({ request }) => request)), {
        onSuccess: (exits) =>
          Effect.sync(() =>
            entries.forEach((entry, i) => entry.settle(exits[i] ?? Exit.die("a batch was not answered in full")))
          ),
        onFailure: (cause) =>
          entries.length > 1 && isDataFault(cause)
            ? Effect.forEach(entries, (entry) => entry.interrupted ? Effect.void : answer([entry]), { discard: true })
            : Effect.sync(() => entries.forEach((entry) => entry.settle(Exit.failCause(cause))))
      })

    const loop = Effect.gen(function*() {
      while (true) {
        const taken = Chunk.toReadonlyArray(yield* Queue.takeBetween(queue, 1, largest))
        const entries = taken.filter((entry) => entry !== null).filter((entry) => !entry.interrupted)
        if (entries.length > 0) yield* answer(entries)
        if (taken.includes(null)) return
      }
    })
    yield* Effect.acquireRelease(Effect.forkDaemon(loop), (fiber) => {
      open = false
      queue.unsafeOffer(null)
      return Fiber.await(fiber)
    })

    return {
      ask: (request, abandoned) =>
        Effect.async((resume) => {
          if (!open) return resume(Effect.fail(closed()))
          const entry = new Entry<Request, Answer>(request, resume, abandoned)
          queue.unsafeOffer(entry)
          return Effect.sync(() => {
            entry.interrupted = true
          })
        }),
      tell: (request) => {
        if (open) queue.unsafeOffer(new Entry<Request, Answer>(request, () => {}, undefined))
      }
    }
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** Requests in one statement at most. */
const largest = 256

class Entry<Request, Answer> {
  interrupted = false

  constructor(
    readonly request: Request,
    private readonly resume: (exit: Exit.Exit<Answer, StoreError>) => void,
    private readonly abandoned: ((answer: Answer) => void) | undefined
  ) {}

  settle(exit: Exit.Exit<Answer, StoreError>): void {
    if (!this.interrupted) this.resume(exit)
    else if (Exit.isSuccess(exit)) this.abandoned?.(exit.value)
  }
}
