/**
 * Leases and fencing of runs: two owners and the real store in memory, in every order of their next moves and of pauses
 * past the lease, up to a length.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as CheckpointMemory from "../src/CheckpointMemory.js"
import type { Service, Step } from "../src/CheckpointStore.js"

const lease = Duration.seconds(1)
const begin = { runId: "r", workflow: "w", key: "r", payload: "{}", version: "1", maxStalls: 1_000, lease }

/** An owner saves this many steps, then records the end. */
const length = 2

type Move = "one" | "two" | "renew one" | "pause"
const moves: ReadonlyArray<Move> = ["one", "two", "renew one", "pause"]

interface Owner {
  readonly name: string
  token: number | undefined
  saved: number
  done: boolean
}

/** A clock that is set by hand, for a TestClock takes some milliseconds to move. */
const manual = () => {
  let nanos = 0n
  const clock: Clock.Clock = Object.create(Clock.make(), {
    unsafeCurrentTimeNanos: { value: () => nanos },
    unsafeCurrentTimeMillis: { value: () => Number(nanos / 1_000_000n) },
    currentTimeNanos: { value: Effect.sync(() => nanos) },
    currentTimeMillis: { value: Effect.sync(() => Number(nanos / 1_000_000n)) }
  })
  return { clock, pause: () => void (nanos += 2_000_000_000n) }
}

/** Plays the moves and says what went wrong, if anything. */
const play = (script: ReadonlyArray<Move>, change: (store: Service, latest: () => number) => Service) =>
  Effect.suspend(() => {
    const { clock, pause } = manual()
    const owners: ReadonlyArray<Owner> = ["one", "two"].map((name) => ({
      name,
      token: undefined,
      saved: 0,
      done: false
    }))
    let latest = 0
    const accepted: Array<string> = []
    let ends = 0
    return Effect.gen(function*() {
      const store = change(yield* CheckpointMemory.make, () => latest)
      const act = (owner: Owner) =>
        Effect.gen(function*() {
          if (owner.done) return
          if (owner.token === undefined) {
            const answer = yield* store.begin(begin)
            if (answer._tag === "Finished") owner.done = true
            if (answer._tag !== "Claimed") return
            if (answer.token <= latest) return yield* Effect.fail("a token that is not newer")
            owner.token = latest = answer.token
            owner.saved = answer.steps.length
            return
          }
          const { token } = owner
          const writes = owner.saved < length
          const step: Step = {
            runId: "r",
            seq: owner.saved,
            name: `step ${owner.saved}`,
            kind: "step",
            branch: "main",
            exit: owner.name,
            startedAt: 0,
            endedAt: 0
          }
          const kept = writes
            ? yield* store.save({ token, step })
            : yield* store.finish({ runId: "r", token, status: "succeeded", exit: owner.name })
          if (!kept) {
            owner.token = undefined
            return
          }
          if (token !== latest) return yield* Effect.fail("a write of an owner that was taken over was accepted")
          if (writes) {
            accepted[owner.saved++] ??= owner.name
          } else {
            ends++
            owner.done = true
          }
        })
      for (const move of script) {
        if (move === "pause") pause()
        else if (move === "renew one") {
          const { token } = owners[0]!
          if (token === undefined || owners[0]!.done) continue
          const renewed = yield* store.renew({ runId: "r", token, lease })
          if (renewed._tag === "Held" && token !== latest) return yield* Effect.fail("renewed after it was taken over")
        } else yield* act(owners[move === "one" ? 0 : 1]!)
      }
      // whatever came before: with time, either owner alone brings it to its end
      pause()
      for (let i = 0; i < length + 3; i++) yield* act(owners[1]!)
      if (!owners[1]!.done) return yield* Effect.fail("it never ended")
      if (ends !== 1) return yield* Effect.fail(`it ended ${ends} times`)
      const { run, steps } = Option.getOrThrow(yield* store.load("r"))
      if (run.status !== "succeeded") return yield* Effect.fail(`its status is ${run.status}`)
      const stored = steps.map(({ exit }) => exit).join()
      return stored === accepted.join() ? undefined : yield* Effect.fail(`steps ${accepted.join()} became ${stored}`)
    }).pipe(Effect.withClock(clock))
  })

const scripts = (length: number): ReadonlyArray<ReadonlyArray<Move>> =>
  length === 0 ? [[]] : scripts(length - 1).flatMap((script) => moves.map((move) => [...script, move]))

describe("two owners of one run, in every order of seven moves", () => {
  it.effect("no step or end is written by who was taken over, and the run ends once", () =>
    Effect.gen(function*() {
      const all = scripts(7)
      for (const script of all) {
        const fault = yield* play(script, (store) => store).pipe(
          Effect.catchAll((fault) => Effect.succeed(fault))
        )
        if (fault !== undefined) assert.fail(`${script.join(", ")}: ${String(fault)}`)
      }
      process.stdout.write(`run leases: ${all.length} orders\n`)
    }), 60_000)

  it.effect("finds what goes wrong without fencing", () =>
    Effect.gen(function*() {
      let faults = 0
      for (const script of scripts(5)) {
        const unfenced = play(script, (store, latest) => ({
          ...store,
          save: (request) => store.save({ ...request, token: latest() }),
          finish: (request) => store.finish({ ...request, token: latest() })
        }))
        if ((yield* Effect.either(unfenced))._tag === "Left") faults++
      }
      assert.isAbove(faults, 0)
    }), 60_000)
})
