import * as Degradation from "@firebreak/core/Degradation"
import type { DegradationCache } from "@firebreak/core/DegradationCache"
import type { SourceDefect, SourceTimeout } from "@firebreak/core/DegradationComponent"
import type * as DegradationLevel from "@firebreak/core/DegradationLevel"
import type { Alternate, Cached, Constant, Fresh, Missing } from "@firebreak/core/DegradationPart"
import type { Report } from "@firebreak/core/DegradationReport"
import * as DegradationSlo from "@firebreak/core/DegradationSlo"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "tstyche"

interface Metrics {
  readonly errorRate: number
}
interface DatadogDown {
  readonly _tag: "DatadogDown"
}
interface LokiDown {
  readonly _tag: "LokiDown"
}
interface Datadog {
  readonly _: unique symbol
}

declare const datadog: Effect.Effect<Metrics, DatadogDown, Datadog>
declare const prometheus: Effect.Effect<Metrics, "refused">
declare const loki: Effect.Effect<ReadonlyArray<string>, LokiDown>
const Metrics: Schema.Schema<Metrics> = Schema.Struct({ errorRate: Schema.Number })
const unknown: Metrics = { errorRate: 0 }

const partial = Degradation.component("metrics", datadog).pipe(
  Degradation.orElse("prometheus", prometheus),
  Degradation.orCached({ key: "payment-api", schema: Metrics })
)
const total = partial.pipe(Degradation.orConstant(unknown))
const logs = Degradation.component("logs", loki)

describe("a chain", () => {
  it("gives the parts of its sources and fails with the error of its primary", () => {
    expect(Degradation.run(partial)).type.toBe<
      Effect.Effect<Fresh<Metrics> | Alternate<Metrics> | Cached<Metrics>, DatadogDown, Datadog | DegradationCache>
    >()
  })

  it("that ends in a constant has error never", () => {
    expect(Degradation.run(total)).type.toBe<
      Effect.Effect<
        Fresh<Metrics> | Alternate<Metrics> | Cached<Metrics> | Constant<Metrics>,
        never,
        Datadog | DegradationCache
      >
    >()
  })

  it("requires the cache only when it uses it", () => {
    expect(Degradation.run(logs)).type.toBe<Effect.Effect<Fresh<ReadonlyArray<string>>, LokiDown>>()
  })

  it("has the value in every part of a total chain", () => {
    expect(Effect.map(Degradation.run(total), (part) => part.value)).type.toBe<
      Effect.Effect<Metrics, never, Datadog | DegradationCache>
    >()
  })

  it("asked for fresh values gives live parts or the error, though it ends in a constant", () => {
    expect(Degradation.run(total, { freshOnly: true })).type.toBe<
      Effect.Effect<Fresh<Metrics> | Alternate<Metrics>, DatadogDown, Datadog | DegradationCache>
    >()
  })

  it("with catchDefects may fail with SourceDefect", () => {
    expect(Degradation.run(Degradation.component("logs", loki, { catchDefects: true }))).type.toBe<
      Effect.Effect<Fresh<ReadonlyArray<string>>, LokiDown | SourceDefect>
    >()
  })

  it("with a timeout may fail with SourceTimeout", () => {
    expect(Degradation.run(Degradation.component("logs", loki, { timeout: "2 seconds" }))).type.toBe<
      Effect.Effect<Fresh<ReadonlyArray<string>>, LokiDown | SourceTimeout>
    >()
    expect(Degradation.run(Degradation.component("logs", loki, { timeout: 2, catchDefects: true }))).type.toBe<
      Effect.Effect<Fresh<ReadonlyArray<string>>, LokiDown | SourceDefect | SourceTimeout>
    >()
    expect(Degradation.run(Degradation.component("logs", loki, { advice: "look yourself", catchDefects: false }))).type
      .toBe<Effect.Effect<Fresh<ReadonlyArray<string>>, LokiDown>>()
    // @ts-expect-error: there is no such option
    Degradation.component("logs", loki, { timeOut: 2 })
  })

  it("caches only what the schema describes", () => {
    // @ts-expect-error: logs are no metrics
    Degradation.component("logs", loki).pipe(Degradation.orCached({ key: "k", schema: Metrics }))
    // @ts-expect-error: the schema is missing
    Degradation.component("logs", loki).pipe(Degradation.orCached({ key: "k" }))
  })

  it("that fails fast has no further fallback", () => {
    // @ts-expect-error: a fail-fast component is no chain
    logs.pipe(Degradation.failFast, Degradation.orConstant([]))
  })
})

describe("all", () => {
  it("keeps the type of each part and adds exactly DegradedBeyond", () => {
    expect(Degradation.all({ total, logs })).type.toBe<
      Effect.Effect<
        Report<{
          readonly total: Fresh<Metrics> | Alternate<Metrics> | Cached<Metrics> | Constant<Metrics>
          readonly logs: Fresh<ReadonlyArray<string>> | Missing<LokiDown>
        }>,
        Degradation.DegradedBeyond,
        Datadog | DegradationCache
      >
    >()
  })

  it("adds the error of a fail-fast component, and no Missing", () => {
    const report = Degradation.all({ total, logs: logs.pipe(Degradation.failFast) })
    expect<Effect.Effect.Error<typeof report>>().type.toBe<Degradation.DegradedBeyond | LokiDown>()
    expect<Effect.Effect.Success<typeof report>["parts"]["logs"]>().type.toBe<Fresh<ReadonlyArray<string>>>()
  })

  it("asked for fresh values only may miss a part of a total chain", () => {
    const report = Degradation.all({ total }, { freshOnly: true })
    expect<Effect.Effect.Success<typeof report>["parts"]["total"]>().type.toBe<
      Fresh<Metrics> | Alternate<Metrics> | Missing<DatadogDown>
    >()
  })

  it("with a deadline may miss what has no constant, and says of what", () => {
    const report = Degradation.all({ total, logs, partial: Degradation.failFast(partial) }, { deadline: "2 seconds" })
    type Parts = Effect.Effect.Success<typeof report>["parts"]
    expect<Parts["total"]>().type.toBe<Fresh<Metrics> | Alternate<Metrics> | Cached<Metrics> | Constant<Metrics>>()
    expect<Parts["logs"]>().type.toBe<Fresh<ReadonlyArray<string>> | Missing<LokiDown | SourceTimeout>>()
    expect<Effect.Effect.Error<typeof report>>().type.toBe<
      Degradation.DegradedBeyond | DatadogDown | SourceTimeout
    >()

    const fresh = Degradation.all({ total }, { deadline: "2 seconds", freshOnly: true })
    expect<Effect.Effect.Success<typeof fresh>["parts"]["total"]>().type.toBe<
      Fresh<Metrics> | Alternate<Metrics> | Missing<DatadogDown | SourceTimeout>
    >()

    // a source that cannot fail can be late
    const sure = Degradation.all({ up: Degradation.component("up", Effect.succeed(1)) }, { deadline: "2 seconds" })
    expect<Effect.Effect.Success<typeof sure>["parts"]["up"]>().type.toBe<Fresh<number> | Missing<SourceTimeout>>()
  })

  it("takes weights of its components only", () => {
    const weighted = Degradation.all({ total, logs }, { weights: { logs: 2 }, tolerate: "slight" })
    expect(weighted).type.toBe(Degradation.all({ total, logs }))
    // @ts-expect-error: there are no traces
    void Degradation.all({ total, logs }, { weights: { traces: 2 } })
    // @ts-expect-error: there is no such level
    void Degradation.all({ total, logs }, { tolerate: "bad" })
  })
})

describe("Degraded", () => {
  it("is made of every report, and is plain JSON when it is encoded", () => {
    expect(Effect.map(Degradation.all({ total, logs }), Degradation.degraded)).type.toBe<
      Effect.Effect<Option.Option<Degradation.Degraded>, Degradation.DegradedBeyond, Datadog | DegradationCache>
    >()
    expect<typeof Degradation.Degraded.Encoded["level"]>().type.toBe<DegradationLevel.Level>()
  })
})

describe("DegradationSlo", () => {
  it("requires nothing and is a layer of nothing", () => {
    expect(DegradationSlo.report("logs")).type.toBe<Effect.Effect<Option.Option<DegradationSlo.Report>>>()
    expect(DegradationSlo.layer({ full: 0.9 })).type.toBe<Layer.Layer<never>>()
    // @ts-expect-error: there is no such objective
    DegradationSlo.layer({ latency: 1 })
  })
})
