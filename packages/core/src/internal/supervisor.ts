/** The shell around `SupervisionState`: starts, watches and stops children, and does what is decided. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Events from "../Events.js"
import type { Children, ChildStatus } from "../Supervision.js"
import * as State from "../SupervisionState.js"
import { bounded } from "./bounded.js"
import { errorText } from "./errorText.js"

/** The end that was one too many, and how many restarts there were before it. */
export interface GaveUp {
  readonly child: string
  readonly cause: Cause.Cause<unknown>
  readonly restarts: number
}

/** How a child ended: what it failed with, or by itself. */
export const endText = (cause: Cause.Cause<unknown>): string => {
  if (Cause.isEmpty(cause)) return "it ended by itself"
  return Cause.isInterruptedOnly(cause) ? "it was interrupted" : errorText(Cause.squash(cause))
}

type Message =
  | {
    readonly _tag: "Ended"
    readonly child: string
    readonly start: number
    readonly exit: Exit.Exit<unknown, unknown>
  }
  | { readonly _tag: "Due"; readonly children: ReadonlyArray<string>; readonly turn: number }

interface Running {
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  /** Tells this start from earlier ones, whose end may still be in the queue. */
  readonly start: number
  readonly startedAt: number
}

/** Works through its messages one after the other, so that nothing happens at the same time. */
export class Supervisor {
  private state = State.initial
  private readonly running = new Map<string, Running>()
  private readonly restarts = new Map<string, number>()
  /** By the turn of the wait that will start them again. */
  private readonly waiting = new Map<string, number>()
  private count = 0

  static make(
    name: string,
    children: Children,
    settings: State.Settings,
    shutdown: number
  ): Effect.Effect<Supervisor> {
    return Effect.map(
      Queue.unbounded<Message>(),
      (messages) => new Supervisor(name, children, settings, shutdown, messages)
    )
  }

  private constructor(
    readonly name: string,
    private readonly children: Children,
    private readonly settings: State.Settings,
    private readonly shutdown: number,
    private readonly messages: Queue.Queue<Message>
  ) {}

  statuses(): { readonly [child: string]: ChildStatus } {
    return Object.fromEntries(
      Object.keys(this.children).map((child) => [child, {
        status: this.waiting.has(child) ? "waiting" : this.running.has(child) ? "running" : "ended",
        restarts: this.restarts.get(child) ?? 0
      }])
    )
  }

  get startAll(): Effect.Effect<void, never, any> {
    return Effect.forEach(Object.keys(this.children), (child) => this.start(child), { discard: true })
  }

  /** Until every child has ended for good, or there were too many restarts. */
  get supervise(): Effect.Effect<void, GaveUp, any> {
    return Effect.gen(this, function*() {
      while (this.running.size > 0 || this.waiting.size > 0) {
        const message = yield* Queue.take(this.messages)
        if (message._tag === "Ended") yield* this.ended(message)
        else yield* this.due(message)
      }
    })
  }

  /** Stops what runs, the last started first. */
  get stopAll(): Effect.Effect<void> {
    return Effect.suspend(() => this.stop(Array.from(this.running.keys())))
  }

  private start(child: string): Effect.Effect<void, never, any> {
    return Effect.gen(this, function*() {
      const start = ++this.count
      const startedAt = yield* now
      const fiber = yield* Effect.forkDaemon(Effect.interruptible(Effect.scoped(this.children[child]!.effect)))
      this.running.delete(child)
      this.running.set(child, { fiber, start, startedAt })
      fiber.addObserver((exit) => void this.messages.unsafeOffer({ _tag: "Ended", child, start, exit }))
    }).pipe(Effect.uninterruptible)
  }

  private ended({ child, exit, start }: Message & { readonly _tag: "Ended" }) {
    return Effect.gen(this, function*() {
      const running = this.running.get(child)
      if (running?.start !== start) return
      this.running.delete(child)
      const at = yield* now
      const failed = Exit.isFailure(exit)
      const ran = at - running.startedAt
      const [state, decision] = State.ended(this.state, { child, failed, ran, now: at }, this.settings)
      this.state = state
      const cause = failed ? exit.cause : Cause.empty
      switch (decision._tag) {
        case "Leave":
          return yield* Events.publish({ _tag: "ChildEnded", name: this.name, child, error: endText(cause) })
        case "GiveUp": {
          const { restarts } = decision
          yield* Events.publish({ _tag: "SupervisionGaveUp", name: this.name, child, restarts, error: endText(cause) })
          this.waiting.clear()
          yield* this.stopAll
          return yield* Effect.fail<GaveUp>({ child, cause, restarts })
        }
        case "Restart":
          return yield* this.restart(child, cause, decision)
      }
    })
  }

  private restart(child: string, cause: Cause.Cause<unknown>, decision: State.Decision & { readonly _tag: "Restart" }) {
    return Effect.gen(this, function*() {
      const { after, children } = decision
      this.restarts.set(child, (this.restarts.get(child) ?? 0) + 1)
      yield* Events.publish({
        _tag: "ChildRestarting",
        name: this.name,
        child,
        restarts: this.restarts.get(child)!,
        with: children.filter((other) => other !== child),
        delayMillis: after,
        error: endText(cause)
      })
      // a sibling that has ended for good stays so
      const again = children.filter((other) => other === child || this.running.has(other) || this.waiting.has(other))
      yield* this.stop(children)
      const turn = ++this.count
      for (const other of again) this.waiting.set(other, turn)
      const due = Effect.sync(() => this.messages.unsafeOffer({ _tag: "Due", children: again, turn }))
      yield* after === 0 ? due : Effect.fork(Effect.zipRight(Effect.sleep(after), due))
    })
  }

  private due({ children, turn }: Message & { readonly _tag: "Due" }) {
    return Effect.gen(this, function*() {
      for (const child of children) {
        // a later restart may have taken it over
        if (this.waiting.get(child) !== turn) continue
        this.waiting.delete(child)
        yield* this.start(child)
      }
    })
  }

  /** To its end, though the supervisor is interrupted meanwhile: what is being stopped is in no list any more. */
  private stop(children: ReadonlyArray<string>): Effect.Effect<void> {
    const started = Array.from(this.running).filter(([child]) => children.includes(child)).toReversed()
    return Effect.forEach(started, ([child, { fiber }]) =>
      Effect.suspend(() => {
        // its end is no news any more
        this.running.delete(child)
        return Effect.flatMap(bounded(this.shutdown).run(Fiber.interrupt(fiber)), (stopped) =>
          Either.isRight(stopped)
            ? Effect.void
            : Events.publish({ _tag: "ChildLeftBehind", name: this.name, child, afterMillis: this.shutdown }))
      }), { discard: true }).pipe(Effect.uninterruptible)
  }
}

const now = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)
