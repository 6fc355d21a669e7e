/**
 * One runner on PostgreSQL, in real time: what the engine's tables hold, and who is told of it. The whole contract is in
 * `postgres.suite.test.ts`.
 */
import { assert, describe, layer } from "@effect/vitest"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import type { CheckpointEngine } from "@firebreak/core/CheckpointEngine"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Postgres from "../../sql/test/support/postgres.js"
import * as ClusterEngine from "../src/ClusterEngine.js"
import * as Runners from "./support/runners.js"

const flow = <R>(name: string, body: (key: string) => Effect.Effect<number, never, R>) =>
  Checkpoint.workflow(
    name,
    {
      payload: Schema.Struct({ key: Schema.String, n: Schema.Number }),
      key: ({ key }) => key,
      success: Schema.Number,
      signals: { go: Schema.Number }
    },
    ({ key }) => body(key)
  )

let broken = true
const undone: Array<string> = []
const go = (within: "1 hour" | "200 millis") =>
  Effect.map(Checkpoint.signal("go", { success: Schema.Number, within }), Option.getOrElse(() => -1))
const value = (name: string, n: number) => Checkpoint.step(name, { success: Schema.Number }, Effect.succeed(n))

const Plain = flow("plain", () => Effect.zipRight(value("a", 1), value("a", 2)))
const Breaks = flow("breaks", () =>
  Effect.zipRight(
    value("a", 1),
    Checkpoint.step(
      "b",
      { success: Schema.Number },
      Effect.suspend(() => broken ? Effect.die(new Error("boom")) : Effect.succeed(2))
    )
  ))
const Sleeps = flow("sleeps", () => Effect.zipRight(Checkpoint.sleep("nap", "300 millis"), value("a", 1)))
const Hears = flow("hears", () => Effect.zipWith(go("1 hour"), go("200 millis"), (a, b) => a * 10 + b))
const Undoes = flow("undoes", () =>
  Effect.zipRight(
    Checkpoint.step("a", { compensate: () => Effect.sync(() => undone.push("a")) }, Effect.void),
    Checkpoint.step("stuck", { success: Schema.Number }, Effect.never)
  ))
const Parent = flow("parent", (key) => Effect.orDie(Sleeps.runChild({ key, n: 0 })))

/** The runner, a client, and what both are asked. */
class Cluster extends Context.Tag("Cluster")<Cluster, {
  readonly client: Context.Context<CheckpointEngine>
}>() {}

const live = Layer.unwrapScoped(Effect.gen(function*() {
  const server = yield* Postgres.make()
  const url = server.url(yield* server.database)
  const port = yield* Runners.freePort
  const quick = { url, poll: "100 millis", assignments: "100 millis" } as const
  const runner = ClusterEngine.layer({ ...quick, runner: { host: "127.0.0.1", port }, shutdown: "100 millis" })
  const client = Layer.scoped(
    Cluster,
    Effect.map(Layer.build(Layer.fresh(ClusterEngine.layerClient(quick))), (client) => ({ client }))
  )
  const flows = Layer.mergeAll(Plain.layer, Breaks.layer, Sleeps.layer, Hears.layer, Undoes.layer, Parent.layer)
  return Layer.merge(Layer.provideMerge(flows, runner), client)
}))

describe.skipIf(Postgres.unavailable !== undefined)("the cluster engine on PostgreSQL", () => {
  layer(live, { timeout: 60_000, excludeTestServices: true })((it) => {
    const test = <A, E>(name: string, effect: Effect.Effect<A, E, CheckpointEngine | Cluster>) =>
      it.effect(name, () => effect, 60_000)
    const asClient = <A, E>(effect: Effect.Effect<A, E, CheckpointEngine>) =>
      Effect.flatMap(Cluster, ({ client }) => Effect.provide(effect, client))

    test(
      "runs what a client asks for, once, and tells both how it ended",
      Effect.gen(function*() {
        const exits = yield* Effect.all(
          [Plain.run({ key: "k", n: 0 }), asClient(Plain.run({ key: "k", n: 0 }))],
          { concurrency: 2 }
        )
        assert.deepStrictEqual(exits, [2, 2])
        const { run, steps } = Option.getOrThrow(yield* Checkpoint.load("plain/k"))
        assert.deepStrictEqual(steps.map(({ name, seq }) => [seq, name]), [[0, "a"], [1, "a#2"]])
        assert.isTrue(steps.every((step) => step.startedAt <= step.endedAt && step.startedAt >= run.createdAt - 1_000))
        const refused = yield* Effect.either(asClient(Plain.run({ key: "k", n: 1 })))
        assert.isTrue(Either.isLeft(refused) && refused.left._tag === "PayloadMismatch")
      })
    )

    test(
      "tells a client of a defect, and goes on with the step when it is asked again",
      Effect.gen(function*() {
        const exit = yield* Effect.exit(asClient(Breaks.run({ key: "k", n: 0 })))
        assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "boom")
        broken = false
        assert.strictEqual(yield* asClient(Breaks.run({ key: "k", n: 0 })), 2)
        assert.deepStrictEqual(
          Option.getOrThrow(yield* Checkpoint.load("breaks/k")).steps.map(({ name }) => name),
          ["a", "b"]
        )
      })
    )

    test(
      "is suspended while it waits, and wakes by the clock, by a signal and by a child",
      Effect.gen(function*() {
        const hears = yield* Effect.fork(Hears.run({ key: "k", n: 0 }))
        const [parent] = yield* Effect.all([Parent.run({ key: "k", n: 0 }), Sleeps.run({ key: "k", n: 0 })], {
          concurrency: 2
        })
        assert.strictEqual(parent, 1)
        const { started } = Option.getOrThrow(yield* asClient(Checkpoint.load("hears/k")))
        assert.deepStrictEqual(started.map(({ kind, name }) => [kind, name]), [["signal", "go"]])
        assert.strictEqual(yield* asClient(Hears.send("k", "go", 4)), "Sent")
        assert.strictEqual(yield* Hears.send("k", "go", 5), "AlreadySent")
        assert.strictEqual(yield* Fiber.join(hears), 39)
      })
    )

    test(
      "hears from a client that a run is cancelled, undoes it, and is found by its status",
      Effect.gen(function*() {
        const run = yield* Effect.fork(Effect.flip(Undoes.run({ key: "k", n: 0 })))
        yield* Runners.until(
          Effect.map(Checkpoint.load("undoes/k"), Option.exists(({ started }) => started.length > 0))
        )
        assert.strictEqual(yield* asClient(Undoes.cancel("k", { reason: "enough" })), "Requested")
        assert.strictEqual((yield* Fiber.join(run))._tag, "RunCancelled")
        assert.deepStrictEqual(undone, ["a"])
        const found = yield* asClient(Checkpoint.list({ status: "cancelled", keyPrefix: "k" }))
        assert.deepStrictEqual(found.map((_) => [_.runId, Option.getOrNull(_.cancelled)]), [["undoes/k", "enough"]])
      })
    )

    test(
      "refuses a run whose program no other runner knows",
      Effect.gen(function*() {
        const refused = yield* Effect.either(Checkpoint.run("k", Effect.void))
        assert.isTrue(Either.isLeft(refused) && refused.left._tag === "Unsupported")
      })
    )

    test(
      "forgets what has ended: rows of runs, steps, clocks and signals",
      Effect.gen(function*() {
        yield* Hears.send("never begun", "go", 1)
        assert.isAtLeast(yield* asClient(Checkpoint.prune({ olderThan: 0 })), 5)
        assert.deepStrictEqual(yield* Checkpoint.list(), [])
        assert.strictEqual(yield* Plain.run({ key: "k", n: 1 }), 2)
        assert.isTrue(yield* Checkpoint.clear("plain/k"))
      })
    )
  })
})
