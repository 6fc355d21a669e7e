import { describe, expect, it } from "@effect/vitest"
import * as CircuitBreaker from "@firebreak/core/CircuitBreaker"
import * as CircuitBreakerRegistry from "@firebreak/core/CircuitBreakerRegistry"
import * as HealthCheck from "@firebreak/core/HealthCheck"
import * as SystemCheck from "@firebreak/core/SystemCheck"
import * as Effect from "effect/Effect"
import { afterEach, vi } from "vitest"
import { memoryLimitOf } from "../src/internal/memoryLimit.js"

const run = <R>(check: HealthCheck.HealthCheck<R>) => Effect.flatMap(HealthCheck.runner(check), (runner) => runner)

const GiB = 1024 ** 3

describe("the memory a process may use", () => {
  const limitOf = (files: Record<string, string>) => memoryLimitOf((path) => files[path], 64 * GiB)

  it.each<[string, Record<string, string>, number]>([
    ["without cgroups, the machine's", {}, 64],
    ["version 2, its own", { "/proc/self/cgroup": "0::/app\n", "/sys/fs/cgroup/app/memory.max": `${2 * GiB}\n` }, 2],
    ["version 2 without a limit", { "/proc/self/cgroup": "0::/app\n", "/sys/fs/cgroup/app/memory.max": "max\n" }, 64],
    ["version 2, a lower one above it", {
      "/proc/self/cgroup": "0::/pod/app\n",
      "/sys/fs/cgroup/pod/app/memory.max": `${4 * GiB}\n`,
      "/sys/fs/cgroup/pod/memory.max": `${3 * GiB}\n`
    }, 3],
    ["version 2 in a container", { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": `${GiB}\n` }, 1],
    ["version 1", {
      "/proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/ab\n0::/\n",
      "/sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": `${2 * GiB}\n`
    }, 2],
    ["version 1 in a container that sees its path on the host", {
      "/proc/self/cgroup": "4:memory:/docker/ab\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": `${GiB}\n`
    }, 1],
    ["version 1 without a limit", {
      "/proc/self/cgroup": "4:memory:/\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"
    }, 64],
    ["files of nonsense", { "/proc/self/cgroup": "no\n0::/app", "/sys/fs/cgroup/app/memory.max": "\n" }, 64]
  ])("%s", (_, files, gibibytes) => expect(limitOf(files)).toBe(gibibytes * GiB))
})

describe("SystemCheck", () => {
  it.effect("rss compares the resident set with its limit, and tells the share", () =>
    Effect.gen(function*() {
      const usual = yield* run(SystemCheck.rss({ below: 1 }))
      expect(usual).toMatchObject({ _tag: "Passed", observed: { unit: "percent" } })
      expect(usual.observed!.value).toBeGreaterThan(0)
      const full = yield* run(SystemCheck.rss({ limit: 1024 }))
      expect(full).toMatchObject({ _tag: "Failed", error: expect.stringMatching(/^memory is \d+ % full, limit 90 %$/) })
    }))

  it.live("disk asks the file system, or `read`", () =>
    Effect.gen(function*() {
      expect(yield* run(SystemCheck.disk("/", { below: 1 }))).toMatchObject({ observed: { unit: "percent" } })
      expect(yield* run(SystemCheck.disk("/no/such/place"))).toMatchObject({ _tag: "Failed" })
      const read = Effect.succeed({ used: 95, available: 5 })
      expect(yield* run(SystemCheck.disk("/data", { read }))).toMatchObject({
        _tag: "Failed",
        error: "/data is 95 % full, limit 90 %",
        observed: { value: 95, unit: "percent" }
      })
      expect(yield* run(SystemCheck.disk("/data", { read, below: 0.96 }))).toMatchObject({ _tag: "Passed" })
      const empty = Effect.succeed({ used: 0, available: 0 })
      expect(yield* run(SystemCheck.disk("/data", { read: empty }))).toMatchObject({ _tag: "Failed" })
    }))

  it.live.runIf(process.platform === "linux")("fileHandles counts what is open", () =>
    Effect.gen(function*() {
      const outcome = yield* run(SystemCheck.fileHandles())
      expect(outcome).toMatchObject({ _tag: "Passed", observed: { unit: "percent" } })
      expect(outcome.observed!.value).toBeGreaterThanOrEqual(0)
    }))

  it.effect("fileHandles by `read`", () =>
    Effect.gen(function*() {
      const of = (open: number, limit: number) =>
        run(SystemCheck.fileHandles({ read: Effect.succeed({ open, limit }) }))
      expect(yield* of(899, 1_000)).toMatchObject({ _tag: "Passed" })
      expect(yield* of(900, 1_000)).toMatchObject({ error: "the table of files is 90 % full, limit 90 %" })
      expect(yield* of(900, Infinity)).toMatchObject({ _tag: "Passed" })
    }))

  it("refuses bad options", () => {
    expect(() => SystemCheck.rss({ below: 2 })).toThrow(/below.*got 2/)
    expect(() => SystemCheck.rss({ limit: 0 })).toThrow(/limit.*got 0/)
    expect(() => SystemCheck.disk("")).toThrow(/path/)
  })

  describe("without the modules of Node", () => {
    afterEach(() => {
      vi.unstubAllGlobals()
      vi.resetModules()
    })

    it("throws when a check is made that could tell nothing, unless it is told how", async () => {
      vi.stubGlobal("process", Object.create(process, { getBuiltinModule: { value: undefined } }))
      vi.resetModules()
      const Elsewhere = await import("../src/SystemCheck.js")
      const Checks = await import("../src/HealthCheck.js")
      expect(() => Elsewhere.rss()).toThrow(/limit must be given/)
      expect(() => Elsewhere.disk("/")).toThrow(/read must be given/)
      expect(() => Elsewhere.fileHandles()).toThrow(/read must be given/)
      expect(() => Checks.heap()).toThrow(/limit must be given/)
      expect(() => Elsewhere.disk("/", { read: Effect.succeed({ used: 1, available: 1 }) })).not.toThrow()
      expect(() => Elsewhere.fileHandles({ read: Effect.succeed({ open: 1, limit: 9 }) })).not.toThrow()
    })
  })
})

describe("HealthCheck.breakers", () => {
  it.effect("fails while one of them is open, by itself or by force", () =>
    Effect.gen(function*() {
      const breakers = yield* CircuitBreakerRegistry.make({ name: "hooks", trip: CircuitBreaker.consecutive(1) })
      const all = HealthCheck.breakers(breakers)
      expect(yield* run(all)).toMatchObject({ _tag: "Passed", observed: { value: 0, unit: "open breakers" } })
      yield* Effect.exit(breakers.protect("a")(Effect.fail("no")))
      yield* breakers.protect("b")(Effect.void)
      expect(yield* run(all)).toMatchObject({ _tag: "Failed", error: "open: hooks/a", observed: { value: 1 } })

      const [a, b] = [yield* breakers.get("a"), yield* breakers.get("b")]
      expect(yield* run(HealthCheck.breakers([b]))).toMatchObject({ _tag: "Passed" })
      expect(yield* run(HealthCheck.breakers([a, b]))).toMatchObject({ _tag: "Failed" })
      yield* b.forceOpen
      expect(yield* run(HealthCheck.breakers(b))).toMatchObject({ _tag: "Failed", error: "open: hooks/b" })
      yield* a.reset
      yield* b.reset
      expect(yield* run(all)).toMatchObject({ _tag: "Passed" })
    }))
})
