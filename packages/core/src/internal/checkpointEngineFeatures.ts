/** The tests of `CheckpointEngineSuite` of how runs end, what is done in doubt, and how runs are looked at. */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Checkpoint from "../Checkpoint.js"
import { failsWith, flowOf, journal, one, Payload, Refused, runId, type Test } from "./checkpointEngineContract.js"
import { crashWaiting, go, signalled } from "./checkpointEngineWaits.js"

const ends: ReadonlyArray<Test> = [
  {
    title: "a run that fails is undone in reverse, each once, and goes on with that after a crash",
    needs: ["compensation"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, note, take, undone } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const flow = flowOf(Effect.gen(function*() {
          yield* undone("a", 1)
          yield* Checkpoint.compensate("b", Effect.zipRight(note("undo b"), halted))
          yield* undone("c", 3)
          return yield* new Refused({ status: 1 })
        }))
        yield* crash([flow.layer], flow.run(one), reached)
        assert.deepStrictEqual(take(), ["a", "c", "undo c 3", "undo b"])
        for (let i = 0; i < 2; i++) {
          const error = yield* process([flow.layer], Effect.flip(again(flow.run(one))))
          assert.deepStrictEqual(error, new Refused({ status: 1 }))
        }
        assert.deepStrictEqual(take(), ["undo b", "undo a 1"])
      })
  },
  {
    title: "a compensation has a key of its own, the same on every attempt, in a child too",
    needs: ["compensation", "children"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, note, take } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const look = Effect.flatMap(Checkpoint.CurrentStep, (step) =>
          note(Option.match(step, {
            onNone: () => "none",
            onSome: ({ key, runId, step }) => `${runId} ${step} ${key}`
          })))
        const body = (last: Effect.Effect<void>) =>
          Effect.gen(function*() {
            yield* Checkpoint.compensate("a", look)
            yield* Checkpoint.step("b", {
              compensate: () => Effect.zipRight(look, last)
            }, Effect.void)
            return yield* new Refused({ status: 1 })
          })
        const child = Checkpoint.workflow(
          "child",
          { payload: Payload, key: ({ id }) => id, error: Refused },
          () => body(Effect.void)
        )
        const flow = flowOf(Effect.zipRight(Effect.ignore(child.runChild(one)), body(halted)))
        const layers = [flow.layer, child.layer]
        yield* crash(layers, flow.run(one), reached)
        assert.strictEqual(yield* process(layers, failsWith(again(flow.run(one)))), "Refused")
        const seen = take()
        const runs = seen.map((text) => text.split(" ").slice(0, -1).join(" "))
        const [ofChild] = runs.map((text) => text.split(" ")[0])
        assert.include(ofChild, "child")
        assert.deepStrictEqual(runs, [
          `${ofChild} undo b`,
          `${ofChild} undo a`,
          `${runId} undo b`,
          `${runId} undo b`,
          `${runId} undo a`
        ])
        assert.strictEqual(seen[2], seen[3])
        assert.strictEqual(new Set(seen.map((text) => text.split(" ").at(-1))).size, 4)
      })
  },
  {
    title: "a run that succeeds is not undone",
    needs: ["compensation"],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { take, undone } = journal()
        const flow = flowOf(Effect.map(undone("a", 1), (a) => [a]))
        assert.deepStrictEqual(yield* process([flow.layer], flow.run(one)), [1])
        assert.deepStrictEqual(take(), ["a"])
      })
  },
  {
    title: "a run can be cancelled: it stops, is undone, and everybody is told why",
    needs: ["cancel", "compensation"],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { take, undone } = journal()
        const reached = yield* Deferred.make<void>()
        const stuck = Checkpoint.step("stuck", {}, Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never))
        const flow = flowOf(Effect.zipLeft(Effect.map(undone("a", 1), (a) => [a]), stuck))
        yield* process(
          [flow.layer],
          Effect.gen(function*() {
            assert.strictEqual(yield* flow.cancel("one", { reason: "early" }), "Missing")
            const fiber = yield* Effect.fork(flow.run(one))
            yield* Deferred.await(reached)
            assert.strictEqual(yield* flow.cancel("one", { reason: "by ops" }), "Requested")
            for (const run of [Fiber.join(fiber), flow.run(one)]) {
              const error = yield* Effect.flip(run)
              assert.deepStrictEqual(error, new Checkpoint.RunCancelled({ runId, reason: "by ops" }))
            }
            assert.strictEqual(yield* flow.cancel("one", { reason: "late" }), "Ended")
          })
        )
        assert.deepStrictEqual(take(), ["a", "undo a 1"])
      })
  },
  {
    title: "a run cancelled while nobody had it does nothing more but be undone",
    needs: ["cancel", "compensation"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, step, take, undone } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const flow = flowOf(Effect.all([undone("a", 1), Effect.as(halted, 0), step("b", 2)]))
        yield* crash([flow.layer], flow.run(one), reached)
        yield* process([], Checkpoint.cancel(runId, { reason: "by ops" }))
        assert.strictEqual(yield* process([flow.layer], failsWith(again(flow.run(one)))), "RunCancelled")
        assert.deepStrictEqual(take(), ["a", "undo a 1"])
      })
  },
  {
    title: "a run that passes its deadline is undone, whoever lives then",
    needs: ["deadline", "compensation"],
    body: ({ again, crash, pass, process, unit }) =>
      Effect.gen(function*() {
        const { halt, step, take, undone } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const flow = flowOf(Effect.all([undone("a", 1), Effect.as(halted, 0), step("b", 2)]), {
          deadline: Duration.times(unit, 5)
        })
        yield* crash([flow.layer], flow.run(one), reached)
        yield* pass(6)
        assert.strictEqual(yield* process([flow.layer], failsWith(again(flow.run(one)))), "RunDeadlineExceeded")
        assert.deepStrictEqual(take(), ["a", "undo a 1"])

        const begun = yield* Deferred.make<void>()
        const hanging = Checkpoint.step("stuck", {}, Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
        const stuck = flowOf(Effect.as(hanging, []), { deadline: Duration.times(unit, 5) })
        const fiber = yield* Effect.forkScoped(process([stuck.layer], failsWith(stuck.run({ ...one, id: "two" }))))
        yield* Deferred.await(begun)
        yield* pass(6)
        assert.strictEqual(yield* Fiber.join(fiber), "RunDeadlineExceeded")
      })
  },
  {
    title: "a run that fails again and again is given up, until it is queued again",
    needs: ["dead-letter"],
    body: ({ again, process }) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        let broken = true
        const flow = flowOf(
          Effect.zipWith(
            step("a", 1),
            Effect.suspend(() => broken ? Effect.die("bug") : Effect.succeed(2)),
            (a, b) => [a, b]
          ),
          { maxRecoveries: 2 }
        )
        const attempt = process([flow.layer], Effect.exit(again(flow.run(one))))
        for (let i = 0; i < 3; i++) assert.isTrue(Exit.isFailure(yield* attempt))
        assert.strictEqual(yield* process([flow.layer], failsWith(flow.run(one))), "RunDead")
        broken = false
        assert.strictEqual(yield* process([flow.layer], failsWith(flow.run(one))), "RunDead")
        assert.isTrue(yield* process([flow.layer], Checkpoint.requeue(runId)))
        assert.deepStrictEqual(yield* process([flow.layer], again(flow.run(one))), [1, 2])
        assert.deepStrictEqual(take(), ["a"])
      })
  },
  {
    title: "a run begun with another version is left alone, but where that is accepted",
    needs: ["versions"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        const { halt, step, take } = journal()
        const reached = yield* Deferred.make<void>()
        const halted = halt(reached)
        const body = Effect.zipWith(step("a", 1), halted, (a) => [a])
        const first = flowOf(body)
        yield* crash([first.layer], first.run(one), reached)
        take()
        const second = flowOf(step("x", 1).pipe(Effect.map((x) => [x])), { version: "2" })
        const error = yield* process([second.layer], Effect.flip(again(second.run(one))))
        assert.deepStrictEqual(error, new Checkpoint.VersionMismatch({ runId, recorded: "1", version: "2" }))
        assert.deepStrictEqual(take(), [])
        const third = flowOf(body, { version: "3", accepts: ["2", "1"] })
        assert.deepStrictEqual(yield* process([third.layer], again(third.run(one))), [1])
      })
  }
]

/** Crashes in the step `charge` for as long as it has not been told otherwise. */
const charging = (onInDoubt: "escalate" | { readonly probe: Effect.Effect<Option.Option<number>> }) =>
  Effect.map(Deferred.make<void>(), (reached) => {
    const { halt, note, take } = journal()
    const halted = halt(reached)
    const charge = Effect.as(Effect.zipRight(note("charge"), halted), 1)
    const body = Checkpoint.step("charge", { success: Schema.Number, onInDoubt }, charge)
    return { flow: flowOf(Effect.map(body, (n) => [n])), reached, take }
  })

const doubts: ReadonlyArray<Test> = [
  {
    title: "a step in doubt that may not run again waits to be settled, either way",
    needs: ["in-doubt"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        for (
          const [how, result, runs] of [
            ["retry", [1], ["charge"]],
            [{ success: Schema.Number, value: 9 }, [9], []]
          ] as const
        ) {
          const { flow, reached, take } = yield* charging("escalate")
          const payload = { ...one, id: typeof how === "string" ? how : "value" }
          const id = flow.runId(payload)
          yield* crash([flow.layer], flow.run(payload), reached)
          for (let i = 0; i < 2; i++) {
            assert.strictEqual(yield* process([flow.layer], failsWith(again(flow.run(payload)))), "StepInDoubt")
          }
          assert.deepStrictEqual(take(), ["charge"])
          assert.isTrue(yield* process([flow.layer], Checkpoint.settle(id, "charge", how)))
          assert.deepStrictEqual(yield* process([flow.layer], again(flow.run(payload))), result)
          assert.deepStrictEqual(take(), [...runs])
        }
      })
  },
  {
    title: "a step that is settled to run again is settled once, and dying then it is in doubt again",
    needs: ["in-doubt"],
    body: ({ again, process }) =>
      Effect.gen(function*() {
        const { note, take } = journal()
        const charge = Effect.zipRight(note("charge"), Effect.dieMessage("charge died"))
        const body = Checkpoint.step("charge", { success: Schema.Number, onInDoubt: "escalate" }, charge)
        const flow = flowOf(Effect.map(body, (n) => [n]))
        const run = process([flow.layer], Effect.exit(again(flow.run(one))))
        const settle = process([flow.layer], Checkpoint.settle(flow.runId(one), "charge", "retry"))
        for (let time = 0; time < 2; time++) {
          yield* run
          assert.deepStrictEqual(take(), ["charge"])
          yield* run
          assert.deepStrictEqual(take(), [])
          assert.isTrue(yield* settle)
          assert.isFalse(yield* settle)
        }
      })
  },
  {
    title: "a step in doubt is probed, and runs again only if it did not happen",
    needs: ["in-doubt"],
    body: ({ again, crash, process }) =>
      Effect.gen(function*() {
        for (
          const [found, result, runs] of [
            [Option.none(), [1], ["charge"]],
            [Option.some(9), [9], []]
          ] as const
        ) {
          const { flow, reached, take } = yield* charging({ probe: Effect.succeed(found) })
          const payload = { ...one, id: found._tag }
          yield* crash([flow.layer], flow.run(payload), reached)
          assert.deepStrictEqual(take(), ["charge"])
          assert.deepStrictEqual(yield* process([flow.layer], again(flow.run(payload))), result)
          assert.deepStrictEqual(take(), [...runs])
        }
      })
  },
  {
    title: "a transaction is a step: recorded once, its failure too",
    needs: ["transaction"],
    body: ({ process }) =>
      Effect.gen(function*() {
        const { note, take } = journal()
        const flow = flowOf(Effect.gen(function*() {
          const a = yield* Checkpoint.transaction("a", { success: Schema.Number }, Effect.as(note("a"), 1))
          const failing = Effect.zipRight(note("b"), Effect.fail(new Refused({ status: 2 })))
          const b = yield* Effect.match(Checkpoint.transaction("b", { error: Refused }, failing), {
            onFailure: ({ status }) => status,
            onSuccess: () => 0
          })
          return [a, b]
        }))
        for (let i = 0; i < 2; i++) {
          assert.deepStrictEqual(yield* process([flow.layer], flow.run(one)), [1, 2])
        }
        assert.deepStrictEqual(take(), ["a", "b"])
      })
  }
]

const views: ReadonlyArray<Test> = [
  {
    title: "tells what a run has done and what it waits for, and wakes nothing",
    needs: ["progress", "signals"],
    body: (world) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        const flow = flowOf(Effect.zipRight(step("a", 1), Effect.map(go(world, 60), signalled)))
        yield* crashWaiting(world, flow, "go")
        take()
        const found = yield* world.process([flow.layer], Checkpoint.load(runId))
        const { run, started, steps } = Option.getOrThrow(found)
        assert.deepStrictEqual([run.workflow, run.key, run.status], ["flow", "one", "running"])
        assert.deepStrictEqual(steps.map(({ kind, name }) => [kind, name]), [["step", "a"]])
        assert.deepStrictEqual(started.map(({ kind, name }) => [kind, name]), [["signal", "go"]])
        assert.isTrue(Option.exists(started[0]!.wakeAt, (at) => at > run.createdAt))
        assert.deepStrictEqual(take(), [])
      })
  },
  {
    title: "finds runs by status, by key and page by page",
    needs: ["search"],
    body: ({ pass, process }) =>
      Effect.gen(function*() {
        const flow = flowOf(Effect.succeed([]))
        const broken = Checkpoint.workflow("broken", {
          payload: Payload,
          key: ({ id }) => id,
          error: Refused
        }, () => new Refused({ status: 1 }))
        yield* process(
          [flow.layer, broken.layer],
          Effect.gen(function*() {
            for (const id of ["b", "a1", "a2"]) {
              yield* flow.run({ id, n: 0 })
              yield* pass(0.1)
            }
            yield* Effect.flip(broken.run(one))
            const keys = (filter: Parameters<typeof Checkpoint.list>[0]) =>
              Effect.map(Checkpoint.list(filter), (runs) => runs.map(({ key }) => key))
            assert.deepStrictEqual(yield* keys({ workflow: "flow" }), ["b", "a1", "a2"])
            assert.deepStrictEqual(yield* keys({ status: "failed" }), ["one"])
            assert.deepStrictEqual(yield* keys({ keyPrefix: "a" }), ["a1", "a2"])
            const [first] = yield* Checkpoint.list({ limit: 1 })
            assert.deepStrictEqual(yield* keys({ limit: 2, after: first }), ["a1", "a2"])
          })
        )
      })
  },
  {
    title: "forgets runs that have ended, and then runs them anew",
    needs: ["retention"],
    body: ({ pass, process, unit }) =>
      Effect.gen(function*() {
        const { step, take } = journal()
        const flow = flowOf(Effect.map(step("a", 1), (a) => [a]))
        yield* process(
          [flow.layer],
          Effect.gen(function*() {
            yield* flow.run(one)
            yield* pass(2)
            assert.strictEqual(yield* Checkpoint.prune({ olderThan: Duration.times(unit, 60) }), 0)
            assert.strictEqual(yield* Checkpoint.prune({ olderThan: unit }), 1)
            yield* flow.run(one)
            assert.isTrue(yield* Checkpoint.clear(runId))
            assert.isTrue(Option.isNone(yield* Checkpoint.load(runId)))
            yield* flow.run(one)
          })
        )
        assert.deepStrictEqual(take(), ["a", "a", "a"])
      })
  }
]

export const featureTests: ReadonlyArray<Test> = [...ends, ...doubts, ...views]
