// here only the compiler judges: a diagnostic of the language service would pass for a type error
// @effect-diagnostics *:off
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"
import type { CircuitOpen } from "../src/CircuitBreaker.js"
import * as Idempotency from "../src/Idempotency.js"
import type { IdempotencyStore } from "../src/IdempotencyStore.js"
import type { StoreError } from "../src/StoreError.js"

class Kubernetes extends Schema.TaggedError<Kubernetes>()("Kubernetes", { status: Schema.Number }) {}
class Undeclared extends Data.TaggedError("Undeclared")<{}> {}
class ProbeDown extends Data.TaggedError("ProbeDown")<{}> {}
class Client extends Context.Tag("Client")<Client, { readonly restart: Effect.Effect<number, Kubernetes> }>() {}
class Reader
  extends Context.Tag("Reader")<Reader, { readonly read: Effect.Effect<Option.Option<number>, ProbeDown> }>()
{}

const payload = Schema.Struct({ service: Schema.String, at: Schema.DateFromString })
const one = { service: "payment-api", at: new Date(0) }
const key = (_: { readonly service: string }) => _.service

type Always = Idempotency.KeyReused | Idempotency.OutcomeUnknown | Idempotency.CodecError | StoreError

describe("make", () => {
  test("takes its schema's type, gives its success, and fails as declared and no other way", () => {
    const action = Idempotency.make(
      "restart",
      { payload, key, success: Schema.Number, error: Kubernetes },
      () => Effect.flatMap(Client, (_) => _.restart)
    )
    expect(action).type.toBeCallableWith(one)
    expect(action).type.not.toBeCallableWith({ service: "payment-api", at: "1970-01-01" })
    expect(action).type.not.toBeCallableWith({ service: "payment-api" })
    expect(action(one)).type.toBe<Effect.Effect<number, Kubernetes | Always, Client | IdempotencyStore>>()
  })

  test("without success and error: void, and only what the pattern adds", () => {
    const action = Idempotency.make("clear", { payload, key }, () => Effect.void)
    expect(action(one)).type.toBe<Effect.Effect<void, Always, IdempotencyStore>>()
  })

  test("InProgress is there only where it can occur", () => {
    const failing = Idempotency.make("clear", { payload, key, inFlight: "fail" }, () => Effect.void)
    expect(failing(one)).type.toBe<Effect.Effect<void, Always | Idempotency.InProgress, IdempotencyStore>>()
    const waiting = Idempotency.make("clear", { payload, key, inFlight: "wait" }, () => Effect.void)
    expect(waiting(one)).type.toBe<Effect.Effect<void, Always, IdempotencyStore>>()
  })

  test("a rejection needs no schema and stays in the channel", () => {
    const body = Client.pipe(
      Effect.flatMap((_) => _.restart)
    ) as Effect.Effect<number, Kubernetes | CircuitOpen, Client>
    const action = Idempotency.make("restart", { payload, key, success: Schema.Number, error: Kubernetes }, () => body)
    expect(action(one)).type.toBe<
      Effect.Effect<number, Kubernetes | CircuitOpen | Always, Client | IdempotencyStore>
    >()
  })

  test("a probe adds its errors and requirements, and finds what the action gives", () => {
    const action = Idempotency.make("restart", {
      payload,
      key,
      success: Schema.Number,
      error: Kubernetes,
      onUnknown: {
        probe: (value) => {
          expect(value).type.toBe<{ readonly service: string; readonly at: Date }>()
          return Effect.flatMap(Reader, (_) => _.read)
        }
      }
    }, () => Effect.flatMap(Client, (_) => _.restart))
    expect(action(one)).type.toBe<
      Effect.Effect<number, Kubernetes | ProbeDown | Always, Client | Reader | IdempotencyStore>
    >()
  })

  test("refuses a probe of another type, an undeclared error, a wrong success", () => {
    const options = { payload, key, success: Schema.Number, error: Kubernetes }
    expect(Idempotency.make).type.toBeCallableWith("restart", options, () => Effect.fail(new Kubernetes({ status: 1 })))
    expect(Idempotency.make).type.not.toBeCallableWith(
      "restart",
      { ...options, onUnknown: { probe: () => Effect.succeed(Option.some("text")) } },
      () => Effect.succeed(1)
    )
    expect(Idempotency.make).type.not.toBeCallableWith(
      "restart",
      { ...options, onUnknown: { probe: () => Effect.succeed(1) } },
      () => Effect.succeed(1)
    )
    expect(Idempotency.make).type.not.toBeCallableWith("restart", options, () => Effect.fail(new Undeclared()))
    expect(Idempotency.make).type.not.toBeCallableWith("restart", { payload, key }, () => Effect.fail("text"))
    expect(Idempotency.make).type.not.toBeCallableWith("restart", options, () => Effect.succeed("text"))
    expect(Idempotency.make).type.not.toBeCallableWith(
      "restart",
      { ...options, onUnknown: "guess" },
      () => Effect.succeed(1)
    )
    expect(Idempotency.make).type.not.toBeCallableWith("restart", { payload }, () => Effect.void)
  })

  test("classify sees the declared error", () => {
    Idempotency.make("restart", {
      payload,
      key,
      success: Schema.Number,
      error: Kubernetes,
      classify: (error) => {
        expect(error).type.toBe<Kubernetes>()
        return error.status >= 500 ? "unknown" : "failed"
      }
    }, () => Effect.succeed(1))
  })

  test("the key is made from the payload and its encoded form", () => {
    Idempotency.make("restart", {
      payload,
      key: (value, encoded) => {
        expect(value.at).type.toBe<Date>()
        expect(encoded.at).type.toBe<string>()
        return value.service
      }
    }, () => Effect.void)
    Idempotency.make("restart", { payload, key: Idempotency.payloadKey("restart") }, () => Effect.void)
  })
})

describe("once", () => {
  test("has the effect's own success and the pattern's errors", () => {
    const effect = Idempotency.once(
      { operation: "op", key: "k", success: Schema.Number, error: Kubernetes },
      Effect.flatMap(Client, (_) => _.restart)
    )
    expect(effect).type.toBe<Effect.Effect<number, Kubernetes | Always, Client | IdempotencyStore>>()
    expect(Idempotency.once({ operation: "op", key: "k" }, Effect.void)).type.toBe<
      Effect.Effect<void, Always, IdempotencyStore>
    >()
    expect(Idempotency.once({ operation: "op", key: "k", success: Schema.Number }, Effect.succeed(1))).type.toBe<
      Effect.Effect<number, Always, IdempotencyStore>
    >()
  })

  test("refuses what its schemas do not declare", () => {
    const options = { operation: "op", key: "k", success: Schema.Number }
    expect(Idempotency.once).type.toBeCallableWith(options, Effect.succeed(1))
    expect(Idempotency.once).type.not.toBeCallableWith(options, Effect.fail("text"))
    expect(Idempotency.once).type.not.toBeCallableWith(options, Effect.succeed("text"))
    expect(Idempotency.once).type.not.toBeCallableWith(
      { ...options, onUnknown: { probe: Effect.succeed(Option.some("text")) } },
      Effect.succeed(1)
    )
  })
})

test("scoped keeps what the effect succeeds with, fails with and requires", () => {
  const effect = Effect.flatMap(Client, (_) => _.restart)
  expect(Idempotency.scoped(effect, "tenant")).type.toBe<typeof effect>()
  expect(effect.pipe(Idempotency.scoped("tenant"))).type.toBe<typeof effect>()
  expect(Idempotency.list).type.toBeCallableWith({ scope: Idempotency.everyScope })
  expect(Idempotency.list).type.not.toBeCallableWith({ scope: Symbol.iterator })
})

test("ensure and setTo keep errors and requirements of their parts", () => {
  const ensured = Idempotency.ensure({
    name: "replicas",
    read: Effect.flatMap(Client, (_) => _.restart),
    isDesired: (value) => value === 3,
    act: () => Effect.fail(new Undeclared())
  })
  expect<Effect.Effect.Context<typeof ensured>>().type.toBe<Client>()
  expect<Effect.Effect.Error<typeof ensured>["_tag"]>().type.toBe<"Kubernetes" | "Undeclared" | "NotReached">()
})
