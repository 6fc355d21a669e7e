import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import type { IdempotencyStore } from "@firebreak/core/IdempotencyStore"
import * as IdempotencyKey from "@firebreak/http/IdempotencyKey"
import type * as Scope from "effect/Scope"
import { describe, expect, test } from "tstyche"

declare const app: HttpApp.Default<"not found", "database" | Scope.Scope>

describe("IdempotencyKey", () => {
  test("adds the store and what reading the body fails with; the scope stays that of the app, for what passes", () => {
    expect(IdempotencyKey.make()(app)).type.toBe<
      HttpApp.Default<"not found" | HttpServerError.RequestError, "database" | Scope.Scope | IdempotencyStore>
    >()
  })

  test("classifies by the status", () => {
    expect(IdempotencyKey.make).type.toBeCallableWith({
      classify: (status: number) => status === 404 ? "not-started" : "recorded"
    })
    expect(IdempotencyKey.make).type.not.toBeCallableWith({ classify: () => "failed" })
    expect(IdempotencyKey.make).type.toBeCallableWith({
      classifyFailure: (error: unknown) => error === "full" ? "not-started" : "unknown"
    })
    expect(IdempotencyKey.make).type.not.toBeCallableWith({ classifyFailure: () => "recorded" })
    expect(IdempotencyKey.make).type.not.toBeCallableWith({ onUnknown: "probe" })
  })
})
