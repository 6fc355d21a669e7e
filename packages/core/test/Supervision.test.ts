import { describe, expect, it } from "@effect/vitest"
import * as Events from "@firebreak/core/Events"
import * as Supervision from "@firebreak/core/Supervision"
import * as State from "@firebreak/core/SupervisionState"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { modelRuns, shellRuns } from "./support/runs.js"

const names = ["a", "b", "c"] as const

const settings: fc.Arbitrary<State.Settings> = fc.record({
  strategy: fc.constantFrom("one-for-one" as const, "one-for-all" as const, "rest-for-one" as const),
  children: fc.tuple(
    ...names.map(() => fc.constantFrom("permanent" as const, "transient" as const, "temporary" as const))
  ).map((kinds) => new Map(names.map((name, i) => [name, kinds[i]!]))),
  maxRestarts: fc.integer({ min: 0, max: 4 }),
  within: fc.integer({ min: 1, max: 100 }),
  base: fc.integer({ min: 0, max: 10 }),
  factor: fc.integer({ min: 1, max: 3 }),
  cap: fc.integer({ min: 10, max: 50 }),
  resetAfter: fc.integer({ min: 1, max: 60 })
})

const ends = fc.array(
  fc.record({
    child: fc.constantFrom(...names),
    failed: fc.boolean(),
    ran: fc.integer({ min: 0, max: 80 }),
    wait: fc.integer({ min: 0, max: 30 })
  }),
  { maxLength: 40 }
)

describe("SupervisionState", () => {
  it.prop("never grants more restarts within the time than it may", [settings, ends], ([settings, ends]) => {
    let state = State.initial
    let now = 0
    const granted: Array<number> = []
    for (const { wait, ...end } of ends) {
      now += wait
      const [next, decision] = State.ended(state, { ...end, now }, settings)
      state = next
      const recent = granted.filter((at) => now - at < settings.within).length
      if (decision._tag === "Restart") {
        if (recent >= settings.maxRestarts) expect(recent).toBeLessThan(settings.maxRestarts)
        granted.push(now)
        if (decision.after > settings.cap) expect(decision.after).toBeLessThanOrEqual(settings.cap)
      }
      // and gives up only then
      if (decision._tag === "GiveUp") expect(recent).toBe(settings.maxRestarts)
    }
  }, modelRuns)

  it.prop("restarts by the kind of the child and the strategy", [settings, ends], ([settings, ends]) => {
    for (const { wait: _, ...end } of ends) {
      const [, decision] = State.ended(State.initial, { ...end, now: 0 }, { ...settings, maxRestarts: 1 })
      const kind = settings.children.get(end.child)!
      const restarts = kind === "permanent" || (kind === "transient" && end.failed)
      if ((decision._tag === "Restart") !== restarts) expect(decision._tag).toBe(restarts ? "Restart" : "Leave")
      if (decision._tag !== "Restart") continue
      const expected = {
        "one-for-one": [end.child],
        "one-for-all": [...names],
        "rest-for-one": names.slice(names.indexOf(end.child))
      }[settings.strategy]
      if (decision.children.join() !== expected.join()) expect(decision.children).toEqual(expected)
    }
  }, modelRuns)

  it("waits as Kubernetes does: not at all, then 10 seconds, doubling to 5 minutes, anew after 10 quiet minutes", () => {
    const figures = { base: 10, factor: 2, cap: 300 }
    expect([0, 1, 2, 3, 4, 5, 6, 7, 10_000].map((n) => State.delay(n, figures))).toEqual(
      [0, 10, 20, 40, 80, 160, 300, 300, 300]
    )
    const kubernetes: State.Settings = {
      ...figures,
      strategy: "one-for-one",
      children: new Map([["a", "permanent"]]),
      maxRestarts: 100,
      within: 1,
      resetAfter: 600
    }
    const run = (ran: number, state: State.State) =>
      State.ended(state, { child: "a", failed: true, ran, now: 0 }, kubernetes)
    const [once] = run(1, State.initial)
    expect(run(1, once)[1]).toMatchObject({ after: 10 })
    expect(run(600, once)[1]).toMatchObject({ after: 0 })
  })
})

/** Children that write down their life, and end when they are told to. */
const stage = () => {
  const life: Array<string> = []
  const end = new Map<string, (exit: Exit.Exit<void, string>) => void>()
  const child = (name: string, restart?: State.Restart) =>
    Supervision.child(
      Effect.zipRight(
        Effect.acquireRelease(
          Effect.sync(() => life.push(`+${name}`)),
          () => Effect.sync(() => life.push(`-${name}`))
        ),
        Effect.async<void, string>((resume) => void end.set(name, resume))
      ),
      { restart }
    )
  return {
    life,
    child,
    /** Tells a child to end, and lets the supervisor see it. */
    end: (name: string, exit: Exit.Exit<void, string> = Exit.fail("boom"), wait = 0) =>
      Effect.zipRight(Effect.sync(() => end.get(name)!(exit)), TestClock.adjust(wait))
  }
}

describe("Supervision", () => {
  it.scoped("restarts the one that failed, more slowly each time", () =>
    Effect.gen(function*() {
      const { child, end, life } = stage()
      const supervised = yield* Supervision.make({ name: "workers", children: { a: child("a"), b: child("b") } })
      yield* TestClock.adjust(0)
      yield* end("a")
      expect(life).toEqual(["+a", "+b", "-a", "+a"])
      yield* end("a")
      expect(life.slice(4)).toEqual(["-a"])
      expect(yield* supervised.children).toEqual({
        a: { status: "waiting", restarts: 2 },
        b: { status: "running", restarts: 0 }
      })
      expect(yield* Effect.flip(supervised.check.effect)).toBe("\"a\" waits to be restarted")
      yield* TestClock.adjust("9 seconds")
      expect(life.length).toBe(5)
      yield* TestClock.adjust("1 second")
      expect(life.slice(5)).toEqual(["+a"])
      yield* supervised.check.effect
    }))

  it.scoped("restarts all of them, or the rest, the last stopped first", () =>
    Effect.gen(function*() {
      const all = stage()
      yield* Supervision.make({
        name: "all",
        strategy: "one-for-all",
        children: { a: all.child("a"), b: all.child("b"), c: all.child("c") }
      })
      yield* TestClock.adjust(0)
      yield* all.end("b")
      expect(all.life.slice(3).join(" ")).toBe("-b -c -a +a +b +c")

      const rest = stage()
      yield* Supervision.make({
        name: "rest",
        strategy: "rest-for-one",
        children: { a: rest.child("a"), b: rest.child("b"), c: rest.child("c") }
      })
      yield* TestClock.adjust(0)
      yield* rest.end("b")
      expect(rest.life.slice(3).join(" ")).toBe("-b -c +b +c")
    }))

  it.effect("gives up after too many restarts, stops everything and says why", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const { child, end, life } = stage()
      const running = yield* Effect.fork(
        Supervision.run({ name: "workers", maxRestarts: 1, children: { a: child("a"), b: child("b") } })
      )
      yield* TestClock.adjust(0)
      yield* end("a")
      yield* end("a")
      const error = yield* Effect.flip(Fiber.join(running))
      expect(error.message).toBe(
        "Supervision \"workers\" gave up: 1 restarts within 10m, and \"a\" ended again (boom)"
      )
      expect(life.slice(-2)).toEqual(["-a", "-b"])
      expect(Array.from(yield* Queue.takeAll(queue)).map(({ _tag }) => _tag)).toEqual([
        "ChildRestarting",
        "SupervisionGaveUp"
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.scoped("is not healthy once it has given up, and is as soon as it is made", () =>
    Effect.gen(function*() {
      const { child, end } = stage()
      const supervised = yield* Supervision.make({ name: "workers", maxRestarts: 0, children: { a: child("a") } })
      expect((yield* supervised.children).a.status).toBe("running")
      yield* supervised.check.effect
      yield* TestClock.adjust(0)
      yield* end("a")
      expect(yield* Effect.flip(supervised.check.effect)).toContain("gave up")
    }))

  it.effect("waits for a sibling that is being stopped when its scope closes meanwhile", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const slow = Effect.acquireRelease(
        Effect.void,
        () => Effect.zipRight(Effect.sleep("4 seconds"), Effect.sync(() => log.push("released")))
      )
      const running = yield* Effect.fork(Supervision.run({
        name: "workers",
        strategy: "one-for-all",
        children: {
          a: Supervision.child(Effect.delay(Effect.fail("boom"), "1 second")),
          b: Supervision.child(Effect.zipRight(slow, Effect.never))
        }
      }))
      yield* TestClock.adjust("2 seconds")
      const closing = yield* Effect.fork(
        Effect.zipRight(Fiber.interrupt(running), Effect.sync(() => log.push("closed")))
      )
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.join(closing)
      expect(log).toEqual(["released", "closed"])
    }))

  it.effect("leaves a transient child that succeeded, and ends when all have", () =>
    Effect.gen(function*() {
      const { child, end, life } = stage()
      const running = yield* Effect.fork(
        Supervision.run({ name: "jobs", children: { a: child("a", "transient"), b: child("b", "temporary") } })
      )
      yield* TestClock.adjust(0)
      yield* end("a")
      yield* end("a", Exit.void)
      yield* end("b", Exit.die("bad"))
      expect(yield* Fiber.join(running)).toBeUndefined()
      expect(life.join(" ")).toBe("+a +b -a +a -a -b")
    }))

  it.effect("treats a defect and an interruption from within as ends", () =>
    Effect.gen(function*() {
      const { child, end, life } = stage()
      const running = yield* Effect.fork(Supervision.run({ name: "jobs", children: { a: child("a") } }))
      yield* TestClock.adjust(0)
      yield* end("a", Exit.die(new Error("bug")))
      yield* end("a", Exit.interrupt(running.id()))
      yield* TestClock.adjust("10 seconds")
      expect(life.join(" ")).toBe("+a -a +a -a +a")
      yield* Fiber.interrupt(running)
      expect(life.at(-1)).toBe("-a")
    }))

  it.effect("leaves behind a child that does not stop", () =>
    Effect.gen(function*() {
      const queue = yield* Events.subscribe
      const running = yield* Effect.fork(Supervision.run({
        name: "jobs",
        children: { a: Supervision.child(Effect.uninterruptible(Effect.never)) }
      }))
      yield* TestClock.adjust(0)
      const stopping = yield* Effect.fork(Fiber.interrupt(running))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(stopping)
      expect(Array.from(yield* Queue.takeAll(queue))).toMatchObject([
        { _tag: "ChildLeftBehind", name: "jobs", child: "a", afterMillis: 5_000 }
      ])
    }).pipe(Effect.scoped, Effect.provide(Events.layer)))

  it.effect.prop("keeps one start of each child at most, whatever ends when", [
    fc.constantFrom("one-for-one" as const, "one-for-all" as const, "rest-for-one" as const),
    fc.array(
      fc.record({ child: fc.constantFrom("a", "b", "c"), wait: fc.integer({ min: 0, max: 30 }) }),
      { maxLength: 5 }
    )
  ], ([strategy, ends]) =>
    Effect.gen(function*() {
      const { child, end, life } = stage()
      const running = yield* Effect.fork(Supervision.run({
        name: "jobs",
        strategy,
        maxRestarts: 1_000,
        base: "10 millis",
        cap: "20 millis",
        children: { a: child("a"), b: child("b"), c: child("c") }
      }))
      yield* TestClock.adjust(0)
      for (const { child, wait } of ends) {
        yield* end(child, Exit.fail("boom"), wait)
      }
      yield* TestClock.adjust(100)
      for (const name of ["a", "b", "c"]) {
        const own = life.filter((event) => event.endsWith(name))
        expect(own).toEqual(own.map((_, i) => (i % 2 === 0 ? "+" : "-") + name))
        // and in the end it runs
        expect(own.at(-1)).toBe(`+${name}`)
      }
      yield* Fiber.interrupt(running)
      expect(life.filter((event) => event.startsWith("+")).length).toBe(life.length / 2)
    }), { ...shellRuns, fastCheck: { ...shellRuns.fastCheck, numRuns: 50 } })

  it("refuses bad options by name", () => {
    const children = { a: Supervision.child(Effect.never) }
    expect(() => Supervision.make({ name: "", children })).toThrow("Supervision: name must be a name that is not empty")
    expect(() => Supervision.make({ name: "a", children: {} })).toThrow("Supervision: children must have at least one")
    expect(() => Supervision.make({ name: "a", children, maxRestarts: -1 })).toThrow("Supervision: maxRestarts must be")
    expect(() => Supervision.make({ name: "a", children, cap: "1 second" })).toThrow(
      "Supervision: cap must be a finite duration of at least 10000 ms"
    )
  })
})
