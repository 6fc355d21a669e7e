import * as Deadline from "@firebreak/core/Deadline"
import type * as Rejection from "@firebreak/core/Rejection"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { describe, expect, test } from "tstyche"

declare const call: Effect.Effect<number, "boom", "env">

describe("Deadline", () => {
  test("within and dropExpired add exactly DeadlineExceeded", () => {
    expect(call.pipe(Deadline.within("1 second"))).type.toBe<
      Effect.Effect<number, "boom" | Deadline.DeadlineExceeded, "env">
    >()
    expect(call.pipe(Deadline.dropExpired)).type.toBe<
      Effect.Effect<number, "boom" | Deadline.DeadlineExceeded, "env">
    >()
  })

  test("without and remaining add nothing", () => {
    expect(call.pipe(Deadline.without)).type.toBe<Effect.Effect<number, "boom", "env">>()
    expect(Deadline.remaining).type.toBe<Effect.Effect<Option.Option<Duration.Duration>>>()
  })

  test("is not by its type a rejection: that is told at run time", () => {
    expect<Deadline.DeadlineExceeded>().type.not.toBeAssignableTo<Rejection.Rejection>()
  })
})
