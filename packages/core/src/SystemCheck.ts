/**
 * Checks of what a process shares with its machine: memory, disk space, file handles.
 *
 * What Node tells is taken from `globalThis`, so the module loads anywhere; a check that could tell nothing where it runs
 * throws when it is made, rather than pass for ever, unless it is given a `read` of its own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HealthCheck from "./HealthCheck.js"
import { fullness, percent } from "./internal/fullness.js"
import * as Host from "./internal/host.js"
import * as Check from "./internal/options.js"

/**
 * @since 0.1.0
 * @category options
 */
export interface Options<D extends string = string> extends HealthCheck.Options<D> {
  /** The share in use that fails, 0 to 1. Default 0.9. */
  readonly below?: number | undefined
}

/**
 * @since 0.1.0
 * @category options
 */
export const defaults = { below: 0.9 } as const

/**
 * Passes while the memory of this process (its resident set) is less than `below` of `limit` bytes. By default that is
 * read at each run, for it can be changed: the least limit of the process's cgroup and those above it (`memory.max`, or
 * `memory.limit_in_bytes` of version 1), and the machine's memory if there is none.
 *
 * @example
 * import * as SystemCheck from "@firebreak/core/SystemCheck"
 *
 * export const memory = SystemCheck.rss({ below: 0.8, critical: true })
 *
 * @throws InvalidOption where the memory in use, or without `limit` the limit, cannot be read
 * @since 0.1.0
 * @category constructors
 */
export const rss = <const D extends string = never>(
  options: Options<D> & { readonly limit?: number | undefined } = {}
): HealthCheck.HealthCheck<never, D> => {
  Check.known("SystemCheck.rss", options, { ...known, limit: true })
  const { limit, ...rest } = options
  const given = limit === undefined ? undefined : Check.whole("SystemCheck.rss", "limit", limit, { min: 1 })
  const { process } = Host
  if (process === undefined || (given ?? Host.memoryLimit()) === undefined) {
    throw new Check.InvalidOption("SystemCheck.rss: limit must be given where the memory cannot be read")
  }
  const share = Effect.sync(() => process.memoryUsage().rss / (given ?? Host.memoryLimit() ?? 0))
  return ofShare("SystemCheck.rss", "memory is", share, rest)
}

/**
 * How much of a disk is in use and how much is left to this process, in bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Space {
  readonly used: number
  readonly available: number
}

/**
 * Passes while the file system that holds `path` is less full than `below`, as `df` counts: without what is reserved for
 * the root user. `read` replaces how that is found out.
 *
 * @example
 * import * as SystemCheck from "@firebreak/core/SystemCheck"
 *
 * export const disk = SystemCheck.disk("/var/lib/app", { below: 0.85, interval: "1 minute" })
 *
 * @throws InvalidOption without `read` where there is no file system (before Node 20.16, outside Node)
 * @since 0.1.0
 * @category constructors
 */
export const disk = <E = never, R = never, const D extends string = never>(
  path: string,
  options: Options<D> & { readonly read?: Effect.Effect<Space, E, R> | undefined } = {}
): HealthCheck.HealthCheck<R, D> => {
  Check.known("SystemCheck.disk", options, { ...known, read: true })
  const { read, ...rest } = options
  const space: Effect.Effect<Space, unknown, R> = read ?? spaceOf(Check.name("SystemCheck.disk", "path", path))
  const share = Effect.map(space, ({ available, used }) => used / (used + available))
  return ofShare("SystemCheck.disk", `${path} is`, share, rest)
}

/**
 * File handles that a process has open, and how many it may have.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handles {
  readonly open: number
  readonly limit: number
}

/**
 * Passes while this process has less than `below` of the file handles open that it may have: its entries in
 * `/proc/self/fd` against the soft limit in `/proc/self/limits`. `read` replaces how that is found out.
 *
 * @example
 * import * as SystemCheck from "@firebreak/core/SystemCheck"
 * import * as Effect from "effect/Effect"
 *
 * const onLinux = globalThis.process.platform === "linux"
 *
 * export const handles = SystemCheck.fileHandles({
 *   interval: "30 seconds",
 *   ...onLinux ? {} : { read: Effect.succeed({ open: 0, limit: 1024 }) }
 * })
 *
 * @throws InvalidOption without `read` where there is no `/proc`: outside Linux, and before Node 20.16
 * @since 0.1.0
 * @category constructors
 */
export const fileHandles = <E = never, R = never, const D extends string = never>(
  options: Options<D> & { readonly read?: Effect.Effect<Handles, E, R> | undefined } = {}
): HealthCheck.HealthCheck<R, D> => {
  Check.known("SystemCheck.fileHandles", options, { ...known, read: true })
  const { read, ...rest } = options
  const handles: Effect.Effect<Handles, unknown, R> = read ?? handlesOf()
  return ofShare(
    "SystemCheck.fileHandles",
    "the table of files is",
    Effect.map(handles, (h) => h.open / h.limit),
    rest
  )
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const known: Check.Shape<Options> = { ...HealthCheck.known, below: true }

const ofShare = <E, R, D extends string>(
  module: string,
  what: string,
  share: Effect.Effect<number, E, R>,
  options: Options<D>
): HealthCheck.HealthCheck<R, D> => {
  const { below: limit = defaults.below, ...rest } = options
  const below = Check.between(module, "below", limit, { min: 0, max: 1 })
  return HealthCheck.make(
    Effect.map(share, (share) => new HealthCheck.Observation(percent(share), "percent", fullness(what, share, below))),
    { componentType: "system", ...rest }
  )
}

const spaceOf = (path: string): Effect.Effect<Space, unknown> => {
  const files = Host.files()
  if (files === undefined) {
    throw new Check.InvalidOption("SystemCheck.disk: read must be given where there is no file system")
  }
  return Effect.map(Effect.tryPromise(() => files.promises.statfs(path)), ({ bavail, bfree, blocks, bsize }) => ({
    used: (blocks - bfree) * bsize,
    available: bavail * bsize
  }))
}

const handlesOf = (): Effect.Effect<Handles, unknown> => {
  const files = Host.files()
  if (files === undefined || !Host.hasProc()) {
    throw new Check.InvalidOption("SystemCheck.fileHandles: read must be given where there is no /proc")
  }
  const { readdir, readFile } = files.promises
  return Effect.map(
    Effect.tryPromise(() => Promise.all([readdir("/proc/self/fd"), readFile("/proc/self/limits", "utf8")])),
    ([open, limits]) => {
      const [, soft = "unlimited"] = /^Max open files\s+(\S+)/m.exec(limits) ?? []
      // one of them is open to read the others
      return { open: open.length - 1, limit: soft === "unlimited" ? Infinity : Number(soft) }
    }
  )
}
