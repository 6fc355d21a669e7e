// here only the compiler judges: a diagnostic of the language service would pass for a type error
// @effect-diagnostics *:off
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"
import * as Checkpoint from "../src/Checkpoint.js"
import type { CheckpointEngine } from "../src/CheckpointEngine.js"
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
