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
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
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
    let queue: Array<Entry<Request, Answer>> = []
    let wake: (() => void) | undefined
    let open = true

    const offer = (entry: Entry<Request, Answer>) => {
      queue.push(entry)
      wake?.()
    }

    const answer = (entries: ReadonlyArray<Entry<Request, Answer>>): Effect.Effect<void> =>
      Effect.matchCauseEffect(batch(entries.map(({ request }) => request)), {
        onSuccess: (exits) => {
          for (const [i, entry] of entries.entries()) {
            entry.settle(exits[i] ?? Exit.die("a batch was not answered in full"))
          }
          return Effect.void
        },
        onFailure: (cause) => {
          if (entries.length > 1 && isDataFault(cause)) {
            const alone = (entry: Entry<Request, Answer>) => entry.interrupted ? Effect.void : answer([entry])
            return Effect.forEach(entries, alone, { discard: true })
          }
          for (const entry of entries) entry.settle(Exit.failCause(cause))
          return Effect.void
        }
      })

    const woken = Effect.async<void>((resume) => {
      // the fiber may have given way since it looked
      if (queue.length > 0 || !open) return resume(Effect.void)
      wake = () => {
        wake = undefined
        resume(Effect.void)
      }
    })
    const loop: Effect.Effect<void> = Effect.suspend(() => {
      const taken = queue.slice(0, largest)
      queue = queue.slice(largest)
      const entries = taken.filter((entry) => !entry.interrupted)
      if (entries.length > 0) return Effect.zipRight(answer(entries), loop)
      if (taken.length > 0) return loop
      return open ? Effect.zipRight(woken, loop) : Effect.void
    })
    yield* Effect.acquireRelease(Effect.forkDaemon(loop), (fiber) => {
      open = false
      wake?.()
      return Fiber.await(fiber)
    })

    return {
      ask: (request, abandoned) =>
        Effect.async((resume) => {
          if (!open) return resume(Effect.fail(closed()))
          const entry = new Entry<Request, Answer>(request, resume, abandoned)
          offer(entry)
          return Effect.sync(() => {
            entry.interrupted = true
          })
        }),
      tell: (request) => {
        if (open) offer(new Entry<Request, Answer>(request, () => {}, undefined))
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
