import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Paging from "../src/Paging.js"
import * as Spool from "../src/Spool.js"
import { Page } from "../src/vendors/PagerDuty.js"
import { callsTo, eventsOf, layer, World } from "./support.js"

const page = (dedupKey: string, summary = "it is broken") =>
  new Page({ dedupKey, severity: "error", source: "payment-api", summary, details: { reason: "a test" } })

const directory = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "firebreak-spool-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true }))
)

/** A spool in a directory that is not there yet, in a world whose PagerDuty refuses at once. */
const refusing = Effect.gen(function*() {
  const world = yield* World
  world.faults = [{ vendor: "pagerduty", kind: "status", status: 403 }]
  const path = Path.join(yield* directory, "spool")
  return { world, path, paging: yield* pagingIn(path) }
})

/** What another start of the agent would have. */
const pagingIn = (path: string) => pagingWith(Spool.inDirectory(path))

const pagingWith = (spool: Spool.Spool) =>
  Effect.flatMap(
    Layer.build(Layer.fresh(Paging.layer(spool))),
    (context) => Effect.provide(Paging.Paging, context)
  )

const write = (path: string, name: string, text: string) =>
  Effect.promise(async () => {
    await Fs.mkdir(path, { recursive: true })
    await Fs.writeFile(Path.join(path, name), text)
  })

const filesIn = (path: string) => Effect.promise(async () => (await Fs.readdir(path)).toSorted())

describe("Paging", () => {
  it.scoped("sends a page and keeps nothing", () =>
    Effect.gen(function*() {
      const { paging, path, world } = yield* refusing
      world.faults = []
      expect(yield* paging.page(page("INC-1"))).toBe("sent")
      expect(world.fleet.pages).toMatchObject([{ dedupKey: "INC-1", summary: "it is broken", source: "payment-api" }])
      expect(yield* paging.spooled).toEqual([])
      expect(yield* paging.deliver).toBe(0)
      expect(yield* Effect.promise(() => Fs.access(path).then(() => "there", () => "not made"))).toBe("not made")
    }).pipe(Effect.provide(layer())))

  it.scoped("keeps a page that is refused, and another start sends it", () =>
    Effect.gen(function*() {
      const { paging, path, world } = yield* refusing
      expect(yield* paging.page(page("INC-1"))).toBe("spooled")
      expect(eventsOf(world, "PageSpooled")).toMatchObject([
        {
          page: "INC-1",
          file: Path.join(path, "INC-1.json"),
          error: expect.stringContaining("pagerduty enqueue refused 403")
        }
      ])

      world.faults = []
      const later = yield* pagingIn(path)
      expect(yield* later.spooled).toEqual([
        { _tag: "Waiting", file: Path.join(path, "INC-1.json"), page: page("INC-1") }
      ])
      expect(yield* later.deliver).toBe(1)
      expect(yield* later.spooled).toEqual([])
      expect(eventsOf(world, "PageSent")).toMatchObject([{ page: "INC-1", late: true }])
    }).pipe(Effect.provide(layer())))

  it.scoped("sends a page once, however many deliver at the same time", () =>
    Effect.gen(function*() {
      const { paging, world } = yield* refusing
      yield* paging.page(page("INC-1"))
      world.faults = []
      const sent = yield* Effect.all([paging.deliver, paging.deliver, paging.deliver], { concurrency: "unbounded" })
      expect(sent.toSorted()).toEqual([0, 0, 1])
      expect(eventsOf(world, "PageSent")).toHaveLength(1)
    }).pipe(Effect.provide(layer())))

  it.scoped("keeps the latest page of a key", () =>
    Effect.gen(function*() {
      const { paging } = yield* refusing
      yield* paging.page(page("INC-1", "first"))
      yield* paging.page(page("INC-1", "second"))
      expect(yield* paging.spooled).toMatchObject([{ page: { summary: "second" } }])
    }).pipe(Effect.provide(layer())))

  for (const [where, spool] of [["a directory", Spool.inDirectory], ["memory", () => Spool.inMemory()]] as const) {
    it.scoped(`keeps a later page that is spooled while an earlier one of its key is being sent, in ${where}`, () =>
      Effect.gen(function*() {
        const world = yield* World
        world.faults = [{ vendor: "pagerduty", kind: "status", status: 403 }]
        const pages = spool(yield* directory)
        const read = yield* Deferred.make<void>()
        const paging = yield* pagingWith({
          ...pages,
          entries: Effect.zipLeft(pages.entries, Deferred.succeed(read, undefined))
        })
        yield* paging.page(page("INC-1", "first"))

        world.faults = [{ vendor: "pagerduty", kind: "latency", ms: 1_000 }]
        const delivery = yield* Effect.fork(paging.deliver)
        yield* Deferred.await(read)
        yield* TestClock.adjust(0)
        world.faults = [{ vendor: "pagerduty", kind: "status", status: 403 }]
        expect(yield* paging.page(page("INC-1", "second"))).toBe("spooled")
        yield* TestClock.adjust("1 second")
        expect(yield* Fiber.join(delivery)).toBe(1)
        expect(world.fleet.pages).toMatchObject([{ summary: "first" }])
        expect(yield* paging.spooled).toMatchObject([{ page: { summary: "second" } }])

        world.faults = []
        expect(yield* paging.deliver).toBe(1)
        expect(yield* paging.spooled).toEqual([])
      }).pipe(Effect.provide(layer())))
  }

  it.scoped("removes a page that was sent, however its file was written", () =>
    Effect.gen(function*() {
      const { paging, path, world } = yield* refusing
      const { dedupKey, ...others } = page("INC-1")
      yield* write(path, "INC-1.json", JSON.stringify({ ...others, dedupKey }, null, 2))
      world.faults = []
      expect(yield* paging.deliver).toBe(1)
      expect(yield* filesIn(path)).toEqual([])
    }).pipe(Effect.provide(layer())))

  it.scoped("keeps one of two pages of a key that are spooled at the same time, whole", () =>
    Effect.gen(function*() {
      const spool = Spool.inDirectory(yield* directory)
      const pages = Array.from({ length: 20 }, (_, i) => page("INC-1", "x".repeat(i * 1_000)))
      yield* Effect.forEach(pages, spool.put, { concurrency: "unbounded" })
      expect(yield* spool.entries).toMatchObject([{ _tag: "Waiting" }])
    }))

  it.scoped("keeps any key in a file of its own, inside the spool", () =>
    Effect.gen(function*() {
      const { paging, path } = yield* refusing
      yield* Effect.forEach(["../../x", "a/b", "ü", "a b"], (key) => paging.page(page(key)))
      expect(yield* filesIn(path)).toEqual(["%C3%BC.json", "..%2F..%2Fx.json", "a%20b.json", "a%2Fb.json"])
    }).pipe(Effect.provide(layer())))

  it.scoped("stops delivering at the first page that is not taken, and keeps it and all after it", () =>
    Effect.gen(function*() {
      const { paging, world } = yield* refusing
      yield* Effect.forEach(["INC-1", "INC-2", "INC-3"], (key) => paging.page(page(key)))
      world.calls.splice(0)
      expect(yield* Effect.flip(paging.deliver)).toMatchObject({ _tag: "VendorError", status: 403 })
      expect(callsTo(world, "pagerduty")).toHaveLength(1)
      expect(yield* paging.spooled).toHaveLength(3)
    }).pipe(Effect.provide(layer())))

  it.scoped("names a damaged file, leaves it alone and sends the others", () =>
    Effect.gen(function*() {
      const { paging, path, world } = yield* refusing
      yield* Effect.forEach(["INC-1", "INC-3"], (key) => paging.page(page(key)))
      yield* write(path, "INC-2.json", "{\"dedupKey\": \"INC-")
      yield* write(path, "INC-0.json", "{}")
      yield* write(path, "INC-9.json.tmp", "a page that was never finished")

      world.faults = []
      expect(yield* paging.deliver).toBe(2)
      expect(world.fleet.pages.map(({ dedupKey }) => dedupKey)).toEqual(["INC-1", "INC-3"])
      expect(eventsOf(world, "PageDamaged").map(({ file }) => file)).toEqual([
        Path.join(path, "INC-0.json"),
        Path.join(path, "INC-2.json")
      ])
      // it still counts as unsent, so the self-healing does not take it for well
      expect((yield* paging.spooled).map(({ _tag }) => _tag)).toEqual(["Damaged", "Damaged"])
    }).pipe(Effect.provide(layer())))

  it.scoped("fails and loses nothing when the page cannot be put in its place", () =>
    Effect.gen(function*() {
      const { paging, path, world } = yield* refusing
      yield* paging.page(page("INC-1"))
      yield* Effect.promise(() => Fs.mkdir(Path.join(path, "INC-2.json")))
      const error = yield* Effect.flip(paging.page(page("INC-2")))
      expect(error).toMatchObject({ _tag: "SpoolError", path: Path.join(path, "INC-2.json") })
      expect(error.message).toContain("INC-2.json")
      const left = yield* Effect.promise(() => Fs.readFile(Path.join(path, "INC-2.json.tmp"), "utf8"))
      expect(JSON.parse(left)).toMatchObject({ dedupKey: "INC-2" })

      world.faults = []
      expect(yield* paging.deliver).toBe(1)
    }).pipe(Effect.provide(layer())))

  it.scoped("fails with the spool's path when that is no directory", () =>
    Effect.gen(function*() {
      const { paging, path } = yield* refusing
      yield* Effect.promise(() => Fs.writeFile(path, "a file"))
      expect(yield* Effect.flip(paging.page(page("INC-1")))).toMatchObject({ _tag: "SpoolError" })
      expect(yield* Effect.flip(paging.spooled)).toMatchObject({ _tag: "SpoolError", path })
    }).pipe(Effect.provide(layer())))
})
