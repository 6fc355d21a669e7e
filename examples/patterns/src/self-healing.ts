/**
 * An agent that looks after itself. It loses its connections and resets them; it loses its backend and fails over; then
 * the backup is lost too, nothing helps any more, and after three bad rounds in a row it calls a human and stops trying
 * until it is told to go on.
 */
import type * as Escalation from "@firebreak/core/Escalation"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Failover from "@firebreak/core/Failover"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { timed } from "./internal/print.js"

class Backend extends Context.Tag("Backend")<Backend, { readonly ping: Effect.Effect<string, string> }>() {}

/** What goes wrong in this story. */
const makeWorld = () => {
  const up = { connections: true, main: true, replica: true }
  const backend = (name: "main" | "replica") =>
    Layer.succeed(Backend, { ping: Effect.suspend(() => up[name] ? Effect.succeed("PONG") : Effect.fail("no answer")) })
  const faults = Effect.gen(function*() {
    yield* Effect.sleep("15 seconds")
    yield* timed("💥 the connections are lost")
    up.connections = false
    yield* Effect.sleep("30 seconds")
    yield* timed("💥 the main backend goes down")
    up.main = false
    yield* Effect.sleep("20 seconds")
    yield* timed("💥 the replica goes down too")
    up.replica = false
  })
  return { up, backend, faults }
}

// #region usage
const healing = ({ up }: ReturnType<typeof makeWorld>) =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const backend = yield* Backend
    const failover = yield* Failover.of(Backend)
    const connected = Effect.suspend(() => up.connections ? backend.ping : Effect.fail("not connected"))
    const reset = Effect.sync(() => up.connections = true)
    return Healing.layer({
      name: "agent",
      every: "10 seconds",
      checks: {
        memory: HealthCheck.heap({ below: 0.9, limit: 4 * 1024 ** 3 }),
        connectivity: HealthCheck.make(connected),
        responseTime: HealthCheck.responseTime(backend.ping, { below: "1 second" }),
        queueDepth: HealthCheck.queueDepth(Effect.succeed(0), { below: 1000 })
      },
      remedies: { connectivity: [Healing.remedy("reset connections", reset, { cooldown: "10 seconds" })] },
      onStatus: { unhealthy: [failover.remedy] },
      maxConsecutiveFailures: 3,
      escalate: page
    })
  }))
// #endregion

const page = (escalation: Escalation.Escalation) =>
  Effect.gen(function*() {
    yield* Effect.sleep("1 second")
    yield* Console.log("\n📞 ON-CALL ENGINEER PAGED")
    yield* Console.log(`   bad rounds in a row: ${escalation.consecutiveFailures}`)
    for (const { error, remedy, trigger } of escalation.treatments) {
      yield* Console.log(`   tried for ${trigger}: ${remedy}${error === undefined ? " (helped)" : ` (${error})`}`)
    }
    yield* Console.log("")
  })

/** Every check and every action is an event. */
const announcements = () => {
  let checks = 0
  return EventSink.make((event) => {
    switch (event._tag) {
      case "HealthChecked":
        return timed(`Health check #${++checks}: ${event.status} - ${event.passing}/${event.total} checks passing`)
      case "RemedyApplied":
        return timed(`🔧 ${event.trigger}: ${event.remedy}`)
      case "RemedyVerified":
        return timed(`✓ ${event.remedy}: it helped`)
      case "RemedyFailed":
        return timed(`✗ ${event.remedy}: ${event.error}`)
      case "FailedOver":
        return timed(`🔀 failed over to ${event.to}`)
      case "FailedBack":
        return timed(`🔙 failed back to ${event.to}`)
      case "Escalated":
        return timed(`🚨 escalated (${event.reason}); healing stops, the checks go on`)
      default:
        return Effect.void
    }
  }).pipe(Layer.provideMerge(Events.layer))
}

export const main: Effect.Effect<void> = Effect.suspend(() => {
  const world = makeWorld()
  const BackendLive = Failover.layer(Backend, {
    primary: world.backend("main"),
    backups: { replica: world.backend("replica") },
    check: ({ ping }) => ping
  })
  const Live = healing(world).pipe(Layer.provide(BackendLive), Layer.provideMerge(announcements()))
  return Effect.gen(function*() {
    const agent = yield* Healing.Healing
    yield* world.faults
    yield* Effect.sleep("40 seconds")
    yield* timed("👷 a human repairs the main backend")
    world.up.main = true
    yield* Effect.sleep("40 seconds")
    yield* timed("👷 and lets healing go on")
    yield* agent.resume
    const { applied, succeeded } = yield* agent.stats
    yield* Console.log(`\n${applied} remedies applied, ${succeeded} of them helped`)
  }).pipe(Effect.provide(Live))
})
