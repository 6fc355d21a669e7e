/**
 * A workflow of five steps crashes in the fourth. Begun again it takes up the run where it was left: the three finished
 * steps are not run again, their saved results are used.
 */
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { temporaryDatabase } from "./internal/temporaryDatabase.js"

/** Work that takes a moment. */
const work = <A>(what: string, result: A) =>
  Console.log(`   ${what}`).pipe(Effect.delay("100 millis"), Effect.as(result))

const Logs = Schema.Struct({ errors: Schema.Number, warnings: Schema.Number })
const Metrics = Schema.Struct({ cpu: Schema.String, memory: Schema.String })
const RootCause = Schema.Struct({ cause: Schema.String, service: Schema.String })

// #region usage
const handleIncident = (fix: (service: string) => Effect.Effect<boolean>) =>
  Checkpoint.workflow("handle-incident", {
    payload: Schema.Struct({ incident: Schema.String }),
    key: ({ incident }) => incident,
    success: Schema.String
  }, ({ incident }) =>
    Effect.gen(function*() {
      const logs = yield* Checkpoint.step(
        "analyze_logs",
        { success: Logs },
        work(`reading the logs of ${incident}`, { errors: 15, warnings: 42 })
      )
      const metrics = yield* Checkpoint.step(
        "check_metrics",
        { success: Metrics },
        work(`reading the metrics of ${incident}`, { cpu: "85%", memory: "92%" })
      )
      const { cause, service } = yield* Checkpoint.step(
        "identify_root_cause",
        { success: RootCause },
        work(`${logs.errors} errors, memory at ${metrics.memory}`, { cause: "memory leak", service: "payment-api" })
      )
      yield* Checkpoint.step("apply_fix", { success: Schema.Boolean }, fix(service))
      yield* Checkpoint.step("verify_fix", { success: Schema.Boolean }, work(`looking at ${service} again`, true))
      return `${cause} of ${service} fixed`
    }))
// #endregion

const Announcements = EventSink.make((event) => {
  switch (event._tag) {
    case "RunResumed":
      return Console.log(`📂 the run is taken up, ${event.completedSteps} steps are done\n`)
    case "StepReplayed":
      return Console.log(`⏭  step ${event.seq} ${event.step}: not run again`)
    case "StepStarted":
      return Console.log(`▶ ${event.step}`)
    case "StepSaved":
      return Console.log(`💾 step ${event.seq} ${event.step}: saved`)
    default:
      return Effect.void
  }
}).pipe(Layer.provideMerge(Events.layer))

export const main: Effect.Effect<void> = Effect.gen(function*() {
  const filename = yield* temporaryDatabase

  // each attempt opens the file anew, as a new process would
  const attempt = (fix: (service: string) => Effect.Effect<boolean>) =>
    handleIncident(fix).run({ incident: "INC-12345" }).pipe(
      Effect.provide(SqlStore.layerSqlite({ filename })),
      Effect.provide(Announcements)
    )

  yield* Console.log("Attempt 1, which crashes in apply_fix\n")
  yield* attempt(() => Effect.delay(Effect.dieMessage("Simulated crash"), "100 millis")).pipe(
    Effect.catchAllCause((cause) => Console.log(`\n💥 ${Cause.pretty(cause).split("\n")[0]}`))
  )
  yield* Console.log("\nAttempt 2\n")
  const result = yield* attempt((service) => work(`restarting ${service}`, true))
  yield* Console.log(`\n✓ Workflow completed: ${result}`)
}).pipe(Effect.scoped, Effect.orDie)
