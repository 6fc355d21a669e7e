/** What a healer has tried, kept in a `HealingStore`: read once, written whenever it has changed. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as HealingStore from "../HealingStore.js"
import { bounded } from "./bounded.js"
import * as Snapshot from "./healingSnapshot.js"
import * as Time from "./time.js"

export interface HealingMemory {
  /** What was tried: what `own` says, with what an earlier process has left, once that could be read. */
  readonly recall: (own: () => Snapshot.Tried) => Effect.Effect<Snapshot.Tried>
  /** Keeps what was tried. A store that fails or hangs is logged, and asked again with the next change. */
  readonly keep: (own: () => Snapshot.Tried) => Effect.Effect<void>
}

/** How long one read or write may take, in milliseconds. What is ill may be the store: healing goes on without it. */
const patience = 1_000

export const make = (name: string, store: HealingStore.Service): HealingMemory => {
  if (store === HealingStore.nowhere) return { recall: Effect.sync, keep: () => Effect.void }
  const reads = bounded(patience)
  const writes = bounded(patience)
  const inTurn = Effect.unsafeMakeSemaphore(1).withPermits(1)
  let isRead = false
  let kept = Snapshot.nothing
  return {
    recall: (own) =>
      Effect.suspend(() => {
        if (isRead) return Effect.sync(own)
        return Effect.flatMap(reads.run(store.load(name)), (found) => {
          if (Either.isLeft(found)) return Effect.as(complain(name, "read", found.left), own())
          return Effect.withFiberRuntime((fiber) => {
            const [now, wall] = [Time.monotonicMillis(fiber), Time.wallMillis(fiber)]
            const after = (before: Snapshot.Tried) =>
              Option.match(found.right, {
                onNone: () => before,
                onSome: (snapshot) => Snapshot.restored(snapshot, before, now, wall)
              })
            isRead = true
            kept = after(Snapshot.nothing)
            const tried = after(own())
            return tried.state._tag === "Escalated"
              ? Effect.as(Effect.logWarning(`Healing "${name}" has called people, and waits to be resumed`), tried)
              : Effect.succeed(tried)
          })
        })
      }),
    keep: (own) =>
      inTurn(Effect.withFiberRuntime((fiber) => {
        const tried = own()
        // what could not be read is not written over
        if (!isRead || Snapshot.isSame(tried, kept)) return Effect.void
        const snapshot = Snapshot.of(tried, Time.monotonicMillis(fiber), Time.wallMillis(fiber))
        return Effect.flatMap(writes.run(store.save(name, snapshot)), (saved) => {
          if (Either.isLeft(saved)) return complain(name, "keep", saved.left)
          kept = tried
          return Effect.void
        })
      }))
  }
}

const complain = (name: string, what: "read" | "keep", error: string): Effect.Effect<void> =>
  Effect.logWarning(`Healing "${name}" could not ${what} what was tried, and goes on: ${error}`)
