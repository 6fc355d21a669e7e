/** A fleet of services with a month of faults, with Firebreak's healing or with people alone. */
import * as Events from "@firebreak/core/Events"
import * as Healing from "@firebreak/core/Healing"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/**
 * - `connections`: lost, until they are reset or the service is restarted
 * - `leak`: the service answers no more, until it is restarted
 * - `permanent`: only people can repair it
 */
export type Kind = "connections" | "leak" | "permanent"

/** One fault and what became of it; times are milliseconds since the beginning. */
export interface Fault {
  readonly kind: Kind
  readonly from: number
  until: number
  /** How often people were called while it lasted, and how often each remedy ran. */
  pages: number
  readonly remedies: Map<string, number>
}

export interface Options {
  readonly healing: boolean
  readonly days: number
  /** Faults of a service and month that a remedy can mend: the chapter's transient 70 % of all. */
  readonly mendable: number
}

const month = Duration.toMillis("30 days")

/** What the agent may do, and how long it takes. */
export const limits = { reset: 3, restart: 3 } as const

/** How long people take to come and repair something, on average: the chapter's manual recovery. */
const repairMinutes = 30

/** One service through the whole time: all its faults. */
export const service = (name: string, options: Options): Effect.Effect<ReadonlyArray<Fault>> =>
  Effect.gen(function*() {
    const faults: Array<Fault> = []
    const end = Duration.toMillis(Duration.days(options.days))
    let fault: Fault | undefined
    const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

    const mend = (...kinds: ReadonlyArray<Kind>) =>
      Effect.map(now, (at) => {
        if (fault === undefined || !kinds.includes(fault.kind)) return
        fault.until = at
        fault = undefined
      })
    const count = (remedy: string) =>
      Effect.sync(() => void fault?.remedies.set(remedy, (fault.remedies.get(remedy) ?? 0) + 1))
    const people = Effect.gen(function*() {
      if (fault !== undefined) fault.pages++
      const draw = yield* Random.next
      yield* Effect.sleep(Duration.minutes(-repairMinutes * Math.log(1 - draw)))
      yield* mend("connections", "leak", "permanent")
    })

    const heal = Effect.gen(function*() {
      let resume: Effect.Effect<void> = Effect.void
      const healing = yield* Healing.make({
        name,
        every: "10 seconds",
        checks: {
          serves: HealthCheck.make(
            Effect.suspend(() => fault === undefined ? Effect.void : Effect.fail(fault.kind)),
            { critical: true }
          )
        },
        remedies: {
          serves: [
            Healing.remedy(
              "reset connections",
              Effect.all([count("reset"), Effect.sleep("1 second"), mend("connections")]),
              {
                attempts: limits.reset,
                cooldown: "1 minute"
              }
            ),
            Healing.remedy(
              "restart",
              Effect.all([count("restart"), Effect.sleep("8 seconds"), mend("connections", "leak")]),
              { attempts: limits.restart, cooldown: "1 minute" }
            )
          ]
        },
        maxConsecutiveFailures: 30,
        escalate: () => Effect.forkDaemon(Effect.zipRight(people, Effect.suspend(() => resume)))
      })
      resume = healing.resume
      yield* healing.run
    }).pipe(Effect.scoped)

    yield* Effect.fork(options.healing ? heal : Effect.never)
    const all = options.mendable / 0.7
    while (true) {
      yield* Effect.sleep(-(month / all) * Math.log(1 - (yield* Random.next)))
      const from = yield* now
      if (from >= end) break
      // a fault of a service that is down is not seen
      if (fault !== undefined) continue
      const draw = yield* Random.next
      const kind = draw < 0.3 ? "permanent" : draw < 0.65 ? "connections" : "leak"
      faults.push(fault = { kind, from, until: end, pages: 0, remedies: new Map() })
      if (!options.healing) yield* Effect.fork(people)
    }
    return faults
  }).pipe(Effect.provide(Events.layer))

export interface Summary {
  readonly faults: number
  /** Shares of the time in which services were up: at all, and while no fault that only people can repair lasted. */
  readonly availability: number
  readonly mendableAvailability: number
  /** Median seconds from a mendable fault to its end. */
  readonly medianSeconds: number
}

export const summary = (services: ReadonlyArray<ReadonlyArray<Fault>>, days: number): Summary => {
  const total = services.length * Duration.toMillis(Duration.days(days))
  const downtime = (faults: ReadonlyArray<Fault>) => faults.reduce((sum, { from, until }) => sum + until - from, 0)
  const faults = services.flat()
  const mendable = faults.filter(({ kind }) => kind !== "permanent")
  const times = mendable.map(({ from, until }) => until - from).toSorted((a, b) => a - b)
  return {
    faults: faults.length,
    availability: 1 - downtime(faults) / total,
    mendableAvailability: 1 - downtime(mendable) / total,
    medianSeconds: (times[Math.floor(times.length / 2)] ?? 0) / 1_000
  }
}
