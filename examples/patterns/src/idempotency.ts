/**
 * An agent sets the memory of a pod, crashes, and begins again. The action that was done is not done twice: its recorded
 * result is the answer, and the agent goes on with the next one.
 */
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Idempotency from "@firebreak/core/Idempotency"
import * as SqlStore from "@firebreak/sql/SqlStore"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { temporaryDatabase } from "./internal/temporaryDatabase.js"

/** What an action does to the cluster takes a moment. */
const act = (what: string) => Effect.zipRight(Effect.sleep("100 millis"), Console.log(`  → ${what}`))

// #region usage
const SetPodMemory = Idempotency.make("set_pod_memory", {
  payload: Schema.Struct({ pod: Schema.String, memory: Schema.String }),
  key: Idempotency.payloadKey("set_pod_memory"),
  success: Schema.String
}, ({ memory, pod }) => Effect.as(act(`setting the memory of ${pod} to ${memory}`), memory))

const RestartPod = Idempotency.make("restart_pod", {
  payload: Schema.Struct({ incident: Schema.String, pod: Schema.String }),
  key: ({ incident, pod }) => `${incident}/${pod}`,
  success: Schema.String
}, ({ pod }) => Effect.as(act(`restarting ${pod}`), "restarted"))
// #endregion

/** Written as if nothing ever crashed. */
const workflow = (betweenActions: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const memory = yield* SetPodMemory({ pod: "payment-service", memory: "2Gi" })
    yield* betweenActions
    const status = yield* RestartPod({ incident: "INC-12345", pod: "payment-service" })
    return `memory ${memory}, pod ${status}`
  })

const Announcements = EventSink.make((event) => {
  switch (event._tag) {
    case "ActionStarted":
      return Console.log(`▶ ${event.operation} (key ${event.key.slice(0, 9)}…)`)
    case "ActionCompleted":
      return Console.log(`✓ ${event.operation} recorded`)
    case "ActionReplayed":
      return Console.log(`✓ ${event.operation} was done before: not run, its recorded result is used`)
    default:
      return Effect.void
  }
}).pipe(Layer.provideMerge(Events.layer))

export const main: Effect.Effect<void> = Effect.gen(function*() {
  const filename = yield* temporaryDatabase

  // each attempt opens the file anew, as a new process would
  const attempt = (betweenActions: Effect.Effect<void>) =>
    workflow(betweenActions).pipe(
      Effect.provide(SqlStore.layerSqlite({ filename })),
      Effect.provide(Announcements)
    )

  yield* Console.log("Attempt 1, which crashes after the first action\n")
  yield* attempt(Effect.dieMessage("Simulated crash")).pipe(
    Effect.catchAllCause((cause) => Console.log(`\n💥 ${Cause.pretty(cause).split("\n")[0]}`))
  )
  yield* Console.log("\nAttempt 2, from the start\n")
  yield* Console.log(`\n✓ Workflow completed: ${yield* attempt(Effect.void)}`)
}).pipe(Effect.scoped, Effect.orDie)
