/**
 * The connections on which the store runs its own statements. One that was used is kept for a moment, since the next
 * statement most often comes at once and the way through the pool takes as long as the statement itself; but never so
 * long that others who wait for the pool get none.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

/** What was waited for in vain. */
export class NoAnswer extends Error {}

export const noAnswer = (what: string, time: Duration.Duration): SqlError => {
  const message = `${what} for ${Duration.format(time)}`
  return new SqlError({ cause: new NoAnswer(message), message })
}

export class Connections {
  /** Those taken from the pool and not given back. */
  private readonly held = new Set<Held>()
  /** Of these, those that nobody uses. */
  private readonly idle: Array<Held> = []
  private tidying: ReturnType<typeof setInterval> | undefined
  /** Those who wait for the pool. */
  private waiting = 0
  private isClosed = false
  private readonly watch = new Watch()

  constructor(
    private readonly pooled: Effect.Effect<Connection, SqlError, Scope.Scope>,
    private readonly busyTimeout: Duration.Duration
  ) {}

  /** Gives back what is kept; from then on nothing is. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isClosed = true
      return Effect.zipRight(this.giveBack(this.idle), this.watch.stop)
    })
  }

  /** A connection of the pool for the scope. One that comes when nobody waits any more goes back to the pool. */
  // the driver does not give a connection back that comes after an interruption
  get reserve(): Effect.Effect<Connection, SqlError, Scope.Scope> {
    const asked = Effect.flatMap(Effect.forkDaemon(Effect.uninterruptible(this.pooled)), Fiber.join)
    return Effect.acquireUseRelease(
      Effect.suspend(() => {
        this.waiting++
        return this.giveBack(this.idle.slice(0, 1))
      }),
      () => asked,
      () => Effect.sync(() => this.waiting--)
    )
  }

  /**
   * Uses a connection until `until`, in monotonic nanoseconds. What has no answer by then loses its connection, and so
   * fails even where it cannot be interrupted.
   */
  use<A, E>(until: bigint, use: (connection: Connection) => Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        this.take(until, restore),
        (held) =>
          Effect.matchCauseEffect(this.limited(held.connection, until, restore(use(held.connection))), {
            // whether it can be used again the pool knows, and nobody of those that are kept
            onFailure: (cause): Effect.Effect<A, E | SqlError> =>
              Effect.zipRight(this.giveBack([held, ...this.idle]), Effect.failCause(cause)),
            onSuccess: (value) => Effect.as(this.release(held) ?? Effect.void, value)
          })
      )
    )
  }

  /** Runs it on the connection, which it loses when it is not over at `until`. Called uninterruptibly. */
  limited<A, E>(connection: Connection, until: bigint, part: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> {
    return Effect.suspend(() => {
      const running: Running = { connection, until, isLate: false }
      const watched = Effect.matchCauseEffect(part, {
        onFailure: (cause): Effect.Effect<never, E | SqlError> => {
          this.watch.end(running)
          return running.isLate ? Effect.fail(noAnswer("no answer", this.busyTimeout)) : Effect.failCause(cause)
        },
        onSuccess: (value) => {
          this.watch.end(running)
          return Effect.succeed(value)
        }
      })
      return Effect.zipRight(this.watch.begin(running), watched)
    })
  }

  /**
   * Runs a statement: on a connection that is kept, if there is one, by the driver itself, for on the way of every step
   * each frame counts. Who is interrupted does not wait for the statement to end.
   */
  query<Row>(
    until: bigint,
    statement: { readonly name: string; readonly text: string },
    values: ReadonlyArray<unknown>,
    other: (connection: Connection) => Effect.Effect<Array<Row>, SqlError>
  ): Effect.Effect<Array<Row>, SqlError> {
    return Effect.async((resume) => {
      const held = this.idle.at(-1)
      const driver = held === undefined || isOld(held) ? undefined : driverOf(held.connection)
      if (held === undefined || driver === undefined || !this.watch.isOn) return resume(this.use(until, other))
      this.idle.pop()
      const running: Running = { connection: held.connection, until, isLate: false }
      this.watch.add(running)
      driver.query({ ...statement, values }, (cause, result) => {
        this.watch.end(running)
        if (result === undefined) {
          Effect.runFork(this.giveBack([held, ...this.idle]))
          const error = running.isLate
            ? noAnswer("no answer", this.busyTimeout)
            : new SqlError({ cause, message: "the statement failed" })
          return resume(Exit.fail(error))
        }
        const released = this.release(held)
        if (released !== undefined) Effect.runFork(released)
        resume(Exit.succeed(result.rows as Array<Row>))
      })
    })
  }

  private take(until: bigint, restore: Restore): Effect.Effect<Held, SqlError> {
    return Effect.suspend(() => {
      const held = this.idle.pop()
      if (held === undefined) return this.fromPool(until, restore)
      return isOld(held)
        ? Effect.zipRight(this.giveBack([held]), this.fromPool(until, restore))
        : Effect.succeed(held)
    })
  }

  private fromPool(until: bigint, restore: Restore): Effect.Effect<Held, SqlError> {
    return Effect.flatMap(Effect.zip(Scope.make(), Clock.currentTimeNanos), ([scope, now]) => {
      const left = Duration.nanos(until > now ? until - now : 0n)
      const timed = Effect.timeoutFail(Scope.extend(this.reserve, scope), {
        duration: left,
        onTimeout: () => noAnswer("no free connection", this.busyTimeout)
      })
      return Effect.matchCauseEffect(restore(timed), {
        onFailure: (cause) => Effect.zipRight(Scope.close(scope, Exit.void), Effect.failCause(cause)),
        onSuccess: (connection) => {
          const held: Held = { connection, scope, since: performance.now() }
          this.held.add(held)
          this.tidying ??= setInterval(this.tidy, kept).unref()
          return Effect.succeed(held)
        }
      })
    })
  }

  /** What was used is kept, unless somebody waits for it. */
  private release(held: Held): Effect.Effect<void> | undefined {
    if (this.isClosed || this.waiting > 0 || isOld(held)) return this.giveBack([held])
    this.idle.push(held)
    return undefined
  }

  /** Gives back what was kept long enough. */
  private readonly tidy = () => {
    Effect.runFork(this.giveBack(this.idle.filter(isOld)))
    if (this.held.size > 0) return
    clearInterval(this.tidying)
    this.tidying = undefined
  }

  /** Those that are kept are no longer. */
  private giveBack(several: ReadonlyArray<Held>): Effect.Effect<void> {
    const those = new Set(several)
    const left = this.idle.filter((held) => !those.has(held))
    this.idle.splice(0, this.idle.length, ...left)
    for (const held of those) this.held.delete(held)
    return Effect.forEach(those, ({ scope }) => Scope.close(scope, Exit.void), { discard: true })
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** How long a connection is kept from when the pool gave it, in milliseconds of the host: it is the host's pool. */
const kept = 20

const isOld = ({ since }: Held): boolean => performance.now() - since >= kept

interface Held {
  readonly connection: Connection
  /** Its end gives the connection back. */
  readonly scope: Scope.CloseableScope
  readonly since: number
}

interface Running {
  readonly connection: Connection
  readonly until: bigint
  isLate: boolean
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** One fiber for the time limits of all that runs: it sleeps until the earliest, and ends when nothing runs then. */
class Watch {
  private readonly running = new Set<Running>()
  private watcher: Fiber.RuntimeFiber<void> | undefined
  /** Whether somebody watches what is added. */
  isOn = false

  add(running: Running): void {
    this.running.add(running)
  }

  begin(running: Running): Effect.Effect<void> {
    this.add(running)
    if (this.isOn) return Effect.void
    this.isOn = true
    return Effect.map(Effect.forkDaemon(Effect.interruptible(this.watch())), (watcher) => {
      this.watcher = watcher
    })
  }

  end(running: Running): void {
    this.running.delete(running)
  }

  get stop(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isOn = false
      return this.watcher === undefined ? Effect.void : Fiber.interruptFork(this.watcher)
    })
  }

  private watch(): Effect.Effect<void> {
    return Effect.clockWith((clock) => {
      const now = clock.unsafeCurrentTimeNanos()
      let earliest: bigint | undefined
      for (const running of this.running) {
        if (running.until <= now) {
          running.isLate = true
          this.running.delete(running)
          destroy(running.connection)
        } else if (earliest === undefined || running.until < earliest) earliest = running.until
      }
      if (earliest === undefined) {
        this.isOn = false
        return Effect.void
      }
      return Effect.zipRight(Effect.sleep(Duration.nanos(earliest - now)), this.watch())
    })
  }
}

/** The driver's own client, which the interface does not show. */
interface Driver {
  readonly query: (
    statement: { readonly name: string; readonly text: string; readonly values: ReadonlyArray<unknown> },
    callback: (error: unknown, result: { readonly rows: ReadonlyArray<unknown> } | undefined) => void
  ) => void
  readonly end: () => unknown
}

const driverOf = (connection: Connection): Driver | undefined =>
  (connection as Connection & { readonly pg?: Driver | undefined }).pg

/** Closes a connection; with a statement under way at once, and that fails. */
const destroy = (connection: Connection): void => {
  driverOf(connection)?.end()
}
