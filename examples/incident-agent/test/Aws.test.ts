/** The AWS clients against a server that answers what it is told to. */
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Orchestrator } from "../src/Orchestrator.js"
import { classify } from "../src/VendorError.js"
import * as Aws from "../src/vendors/Aws.js"
import * as VendorConfig from "../src/vendors/VendorConfig.js"
import * as VendorParts from "../src/vendors/VendorParts.js"

interface Answer {
  readonly status: number
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** ECS at a server on the loopback that answers all with `answer`, once and not repeated. */
const ecs = (answer: Answer) =>
  Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(
      Effect.async<ReturnType<typeof createServer>>((resume) => {
        const server = createServer((_, response) => {
          response.writeHead(answer.status, { "content-type": "application/x-amz-json-1.1", ...answer.headers })
          response.end(JSON.stringify({ __type: answer.type, message: "scripted", services: [] }))
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    )
    const { port } = server.address() as AddressInfo
    const layer = Aws.layerEcs.pipe(
      Layer.provide(Layer.merge(VendorConfig.layer(`http://127.0.0.1:${port}`), VendorParts.layer()))
    )
    const orchestrator = yield* Effect.map(Layer.build(layer), (context) => Effect.provide(Orchestrator, context))
    return VendorParts.withoutRetries(
      Effect.flatMap(orchestrator, ({ restartedSince }) => restartedSince({ service: "payment-api", at: 0 }))
    )
  })

/** The SDK takes a while to load on a busy machine. */
const patience = { timeout: 60_000 }

describe("AWS by its SDK", () => {
  it.scopedLive("loads for others when the first caller is interrupted", () =>
    Effect.gen(function*() {
      const ask = yield* ecs({ status: 200 })
      const first = yield* Effect.fork(ask)
      yield* Effect.yieldNow()
      const interrupted = yield* Fiber.interrupt(first)
      expect(Exit.isFailure(interrupted) && Cause.isInterruptedOnly(interrupted.cause)).toBe(true)
      expect(yield* ask).toEqual(Option.none())
    }), patience)

  it.scopedLive.each(
    [
      [{ status: 400, type: "ThrottlingException" }, "throttled", "not-started"],
      [{ status: 400, type: "ProvisionedThroughputExceededException" }, "throttled", "not-started"],
      [{ status: 400, type: "RequestThrottled" }, "throttled", "not-started"],
      [{ status: 400, type: "PriorRequestNotComplete" }, "throttled", "not-started"],
      [{ status: 429, type: "SomethingNew" }, "throttled", "not-started"],
      [{ status: 503, type: "SlowDown" }, "throttled", "not-started"],
      [{ status: 503, type: "ServiceUnavailable" }, "unavailable", "unknown"],
      [{ status: 408, type: "SomethingNew" }, "unavailable", "unknown"],
      [{ status: 400, type: "RequestTimeout" }, "unavailable", "unknown"],
      [{ status: 400, type: "ServiceNotFoundException" }, "refused", "failed"],
      [{ status: 403, type: "AccessDeniedException" }, "refused", "failed"]
    ] as const
  )("knows what an answer says: %o is %s", ([answer, kind, classified]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(yield* ecs(answer))
      expect(error).toMatchObject({ kind, status: answer.status, detail: `${answer.type}: scripted` })
      expect(classify(error)).toBe(classified)
    }), patience)

  it.scopedLive.each(
    [
      [{ "x-amz-retry-after": "1500" }, 1_500],
      [{ "retry-after": "7" }, 7_000],
      [{ "x-amz-retry-after": "1e3" }, undefined],
      [{ "x-amz-retry-after": "Infinity" }, undefined]
    ] as const
  )("waits as long as %o asks", ([headers, millis]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(yield* ecs({ status: 429, type: "SlowDown", headers }))
      expect(error.retryAfterMillis).toBe(millis)
    }), patience)
})
