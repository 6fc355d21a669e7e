// here only the compiler judges: a diagnostic of the language service would pass for a type error
// @effect-diagnostics *:off
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"
import * as Checkpoint from "../src/Checkpoint.js"
import type { CheckpointEngine } from "../src/CheckpointEngine.js"
import type { CheckpointStore, Sent } from "../src/CheckpointStore.js"
import type { StoreError } from "../src/StoreError.js"

class Escalated extends Schema.TaggedError<Escalated>()("Escalated", { to: Schema.String }) {}
class Undeclared extends Data.TaggedError("Undeclared")<{}> {}
class Client extends Context.Tag("Client")<Client, { readonly metrics: Effect.Effect<number, Escalated> }>() {}
class Codec extends Context.Tag("Codec")<Codec, {}>() {}

const metrics = Effect.flatMap(Client, (_) => _.metrics)
const Incident = Schema.Struct({ id: Schema.String, at: Schema.DateFromString })
const one = { id: "INC-1", at: new Date(0) }
const key = (_: { readonly id: string }) => _.id
/** A schema that needs a service to encode. */
const Needy: Schema.Schema<number, number, Codec> = Schema.Number as never

describe("step", () => {
  test("has its schemas' types and needs a run", () => {
    expect(Checkpoint.step("gather", { success: Schema.Number, error: Escalated }, metrics)).type.toBe<
      Effect.Effect<number, Escalated, Client | Checkpoint.CurrentRun>
    >()
    expect(Checkpoint.step("page", {}, Effect.void)).type.toBe<Effect.Effect<void, never, Checkpoint.CurrentRun>>()
    expect(Checkpoint.step("count", { success: Schema.Number }, Effect.succeed(1))).type.toBe<
      Effect.Effect<number, never, Checkpoint.CurrentRun>
    >()
    expect(Checkpoint.step("count", { success: Needy }, Effect.succeed(1))).type.toBe<
      Effect.Effect<number, never, Checkpoint.CurrentRun | Codec>
    >()
  })

  test("outside a run does not compile", () => {
    const program = Checkpoint.step("page", {}, Effect.void)
    expect(Effect.runPromise<void, never>).type.not.toBeCallableWith(program)
    expect(Effect.runPromise<void, never>).type.toBeCallableWith(Effect.void)
  })

  test("refuses an error its schema does not declare, and another success", () => {
    const options = { success: Schema.Number, error: Escalated }
    expect(Checkpoint.step).type.toBeCallableWith("gather", options, Effect.fail(new Escalated({ to: "ops" })))
    expect(Checkpoint.step).type.not.toBeCallableWith("gather", options, Effect.fail(new Undeclared()))
    expect(Checkpoint.step).type.not.toBeCallableWith("gather", { success: Schema.Number }, metrics)
    expect(Checkpoint.step).type.not.toBeCallableWith("gather", {}, Effect.fail("text"))
    expect(Checkpoint.step).type.not.toBeCallableWith("gather", options, Effect.succeed("text"))
  })

  test("cannot contain another step", () => {
    const inner = Checkpoint.step("inner", {}, Effect.void)
    expect(Checkpoint.step).type.not.toBeCallableWith("outer", {}, inner)
    expect(Checkpoint.step).type.not.toBeCallableWith("outer", {}, Effect.asVoid(Effect.zipRight(Client, inner)))
    expect(Checkpoint.step).type.toBeCallableWith("outer", {}, Effect.asVoid(Client))
  })
})

describe("workflow", () => {
  const flow = Checkpoint.workflow(
    "handle-incident",
    { payload: Incident, key, success: Schema.Number, error: Escalated },
    () => Checkpoint.step("gather", { success: Schema.Number, error: Escalated }, metrics)
  )

  test("gives its body the payload", () => {
    Checkpoint.workflow("handle-incident", { payload: Incident, key }, (incident) => {
      expect(incident).type.toBe<{ readonly id: string; readonly at: Date }>()
      return Effect.void
    })
  })

  test("runs with what its steps need, the run apart", () => {
    expect(flow.run).type.toBeCallableWith(one)
    expect(flow.run).type.not.toBeCallableWith({ id: "INC-1", at: "1970-01-01" })
    expect(flow.run(one)).type.toBe<
      Effect.Effect<number, Escalated | Checkpoint.RunError, Client | CheckpointEngine>
    >()
    expect(flow.runId(one)).type.toBe<string>()
    expect(flow.outcome(one)).type.toBe<
      Effect.Effect<
        Option.Option<Exit.Exit<number, Escalated | Checkpoint.RunEnded>>,
        StoreError | Checkpoint.StepCodecError,
        CheckpointEngine
      >
    >()
    expect(flow.layer).type.toBe<Layer.Layer<never, never, CheckpointEngine | Client>>()
  })

  test("without success and error: void, and only what a run adds", () => {
    const plain = Checkpoint.workflow("plain", { payload: Incident, key }, () => Effect.void)
    expect(plain.run(one)).type.toBe<Effect.Effect<void, Checkpoint.RunError, CheckpointEngine>>()
  })

  test("refuses an error it does not declare, another success, and no key", () => {
    const options = { payload: Incident, key, success: Schema.Number, error: Escalated }
    expect(Checkpoint.workflow).type.toBeCallableWith("w", options, () => Effect.succeed(1))
    expect(Checkpoint.workflow).type.not.toBeCallableWith("w", options, () => Effect.fail(new Undeclared()))
    expect(Checkpoint.workflow).type.not.toBeCallableWith("w", options, () => Effect.succeed("text"))
    expect(Checkpoint.workflow).type.not.toBeCallableWith("w", { payload: Incident, key }, () => metrics)
    expect(Checkpoint.workflow).type.not.toBeCallableWith("w", { payload: Incident }, () => Effect.void)
  })
})

test("run takes a program and gives it its run", () => {
  const options = { success: Schema.Number, error: Escalated }
  const program = Checkpoint.step("gather", options, metrics)
  expect(Checkpoint.run("id", options, program)).type.toBe<
    Effect.Effect<number, Escalated | Checkpoint.RunError, Client | CheckpointEngine>
  >()
  expect(Checkpoint.run("id", Checkpoint.step("page", {}, Effect.asVoid(Client)))).type.toBe<
    Effect.Effect<void, Checkpoint.RunError, Client | CheckpointEngine>
  >()
  expect(Checkpoint.run).type.not.toBeCallableWith("id", {}, program)
  expect(Checkpoint.run).type.not.toBeCallableWith("id", program)
})

describe("what undoes and what is in doubt", () => {
  test("compensate is given the step's value, and what it needs the run needs", () => {
    expect(
      Checkpoint.step("count", {
        success: Schema.Number,
        compensate: (n) => {
          expect(n).type.toBe<number>()
          return Effect.asVoid(Client)
        }
      }, Effect.succeed(1))
    ).type.toBe<Effect.Effect<number, never, Client | Checkpoint.CurrentRun>>()
    expect(Checkpoint.compensate("a", Effect.asVoid(Client))).type.toBe<
      Effect.Effect<void, never, Client | Checkpoint.CurrentRun>
    >()
  })

  test("an undo cannot fail, and contains no step", () => {
    const inner = Checkpoint.step("inner", {}, Effect.void)
    expect(Checkpoint.compensate).type.not.toBeCallableWith("a", Effect.fail("text"))
    expect(Checkpoint.compensate).type.not.toBeCallableWith("a", inner)
    expect(Checkpoint.step).type.not.toBeCallableWith("a", { compensate: () => inner }, Effect.void)
    expect(Checkpoint.step).type.not.toBeCallableWith("a", { compensate: () => Effect.fail("text") }, Effect.void)
  })

  test("a probe finds the step's success or none", () => {
    const found = Effect.map(Client, () => Option.some(1))
    expect(Checkpoint.step("a", { success: Schema.Number, onInDoubt: { probe: found } }, Effect.succeed(1))).type.toBe<
      Effect.Effect<number, never, Client | Checkpoint.CurrentRun>
    >()
    const options = { success: Schema.String, onInDoubt: { probe: found } }
    expect(Checkpoint.step).type.not.toBeCallableWith("a", options, Effect.succeed("text"))
    expect(Checkpoint.step).type.not.toBeCallableWith("a", { onInDoubt: "later" }, Effect.void)
  })

  test("a transaction is a step: it contains none, and declares its errors", () => {
    const inner = Checkpoint.step("inner", {}, Effect.void)
    expect(Checkpoint.transaction("t", { success: Schema.Number, error: Escalated }, metrics)).type.toBe<
      Effect.Effect<number, Escalated, Client | Checkpoint.CurrentRun>
    >()
    expect(Checkpoint.transaction).type.not.toBeCallableWith("t", {}, inner)
    expect(Checkpoint.transaction).type.not.toBeCallableWith("t", { success: Schema.Number }, metrics)
    expect(Checkpoint.step).type.not.toBeCallableWith("s", {}, Checkpoint.transaction("t", {}, Effect.void))
  })
})

describe("waiting", () => {
  test("a sleep and a signal need a run", () => {
    expect(Checkpoint.sleep("nap", "1 hour")).type.toBe<Effect.Effect<void, never, Checkpoint.CurrentRun>>()
    expect(Checkpoint.signal("go", { success: Schema.Number, within: "1 hour" })).type.toBe<
      Effect.Effect<Option.Option<number>, never, Checkpoint.CurrentRun>
    >()
    expect(Checkpoint.signal("go")).type.toBe<Effect.Effect<Option.Option<void>, never, Checkpoint.CurrentRun>>()
    expect(Checkpoint.step).type.not.toBeCallableWith("s", {}, Checkpoint.sleep("nap", "1 hour"))
  })

  const flow = Checkpoint.workflow(
    "w",
    { payload: Incident, key, error: Escalated, signals: { approval: Schema.Boolean } },
    () => Effect.void
  )

  test("a workflow can be sent the signals it declares, with their values", () => {
    expect(flow.send("INC-1", "approval", true)).type.toBe<
      Effect.Effect<Sent, StoreError | Checkpoint.StepCodecError, CheckpointEngine>
    >()
    expect(flow.send).type.toBeCallableWith("INC-1", "approval#2", true)
    expect(flow.send).type.not.toBeCallableWith("INC-1", "approval", "yes")
    expect(flow.send).type.not.toBeCallableWith("INC-1", "other", true)
    const plain = Checkpoint.workflow("plain", { payload: Incident, key }, () => Effect.void)
    expect(plain.send).type.not.toBeCallableWith("INC-1", "approval", true)
  })

  test("a child needs a run, and its ends are its parent's to handle", () => {
    expect(flow.runChild(one)).type.toBe<
      Effect.Effect<void, Escalated | Checkpoint.RunEnded, Checkpoint.CurrentRun>
    >()
    expect(Checkpoint.step).type.not.toBeCallableWith("s", { error: Schema.Any }, flow.runChild(one))
  })
})

test("layers", () => {
  expect(Checkpoint.layerMemory).type.toBe<Layer.Layer<CheckpointEngine | CheckpointStore>>()
  expect(Checkpoint.layerEngine).type.toBe<Layer.Layer<CheckpointEngine, never, CheckpointStore>>()
  expect(Checkpoint.layerResume()).type.toBe<Layer.Layer<never, never, CheckpointEngine>>()
  expect(Checkpoint.layerRetention({ olderThan: "1 day" })).type.toBe<Layer.Layer<never, never, CheckpointEngine>>()
})
