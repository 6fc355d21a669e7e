/**
 * One call behind a policy: all its protections in one step, without a fiber, a Ref or a Schedule driver on the way.
 *
 * A call begins without a mask and takes one only when something is held that must come back from an interruption: a
 * bulkhead's slot, a half-open probe, a timer, a retry that is paid for. Once masked it stays so to its end, and only the
 * effect itself and the waits between attempts are interruptible.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import * as BackoffCurve from "../BackoffCurve.js"
import { CircuitOpen } from "../CircuitBreakerError.js"
import * as Deadline from "../Deadline.js"
import * as Rejection from "../Rejection.js"
import * as RetryBudget from "../RetryBudget.js"
import type { Plan } from "./backoffPlan.js"
import * as Stage from "./stage.js"
import * as Time from "./time.js"
import { isLive, Timer } from "./timer.js"
import * as Traced from "./traced.js"
import type { Verdict } from "./verdict.js"

/** A policy's options, compiled. */
export interface Compiled {
  readonly retry: {
    readonly schedule: Schedule.Schedule<any, any, any>
    readonly plan: Plan<any, any> | undefined
    readonly isRetryable: (error: any) => boolean
    /** Whether an open circuit is waited for. */
    readonly waits: boolean
  } | undefined
  /** What a part is told of an error of the call's own, if not the error itself. */
  readonly classify: ((error: any, part: Judge) => Verdict) | undefined
  readonly timeout: {
    readonly millis: number
    /** Whether a timer interrupts the fiber of the call; otherwise `Effect.timeout`. */
    readonly byTimer: boolean
    readonly error: () => unknown
  } | undefined
}

/** What stands around one call: the parts of the policy as they are in its context. */
export interface Parts {
  /** Held through all attempts. */
  readonly outer: Stage.Stage | undefined
  /** Asked before each attempt, in this order; `kinds` says which is which. */
  readonly inner: ReadonlyArray<Stage.Stage>
  readonly kinds: ReadonlyArray<Judge>
  /** The dependency's, for events of a schedule that has none. */
  readonly name: string | undefined
  readonly budget: RetryBudget.RetryBudget | undefined
}

/** The parts of a policy that learn from the end of an attempt, and one that does not listen. */
export type Judge = "throttle" | "rateLimit" | "concurrencyLimit" | "breaker"

export class Call {
  private masked = false
  private restore: Stage.Restore = same
  private outerTicket: unknown = undefined
  private tickets: Array<unknown> | undefined
  private timer: Timer | undefined
  /** The last error of the call itself. */
  private last: unknown = none
  /** What the retry under way or waited for has cost. */
  private paid: RetryBudget.Kind | undefined
  /** Whether that retry was handed to the effect, and not turned away by a part within it. */
  private begun = false
  private state: BackoffCurve.State | undefined
  /** How often it has looked at a circuit that lets some calls pass, but not this one. */
  private looks: BackoffCurve.State | undefined
  /** When the deadline around the call passes and when the attempt began, in monotonic milliseconds. */
  private readonly deadline: number
  private startedAt = NaN
  private driven: { readonly state: unknown } | undefined

  constructor(
    private readonly policy: Compiled,
    private readonly parts: Parts,
    private readonly effect: Effect.Effect<any, any, any>,
    private readonly fiber: Stage.Running,
    /** Within a retry of the same budget, which counts this call and alone retries it. */
    private readonly isNested: boolean
  ) {
    this.deadline = Deadline.unsafeDeadline(fiber)
  }

  /** For a policy that holds nothing by itself. */
  start(): Effect.Effect<any, any, any> {
    if (!this.isNested) this.parts.budget?.unsafeCalled(this.fiber)
    return this.attempt()
  }

  /** For a policy that always holds something: within the mask whose `restore` this is. */
  startMasked(restore: Stage.Restore): Effect.Effect<any, any, any> {
    this.masked = true
    this.restore = restore
    const { outer } = this.parts
    if (outer === undefined) return this.start()
    const entered = outer.enter(this.fiber, restore)
    if (entered instanceof Stage.Refused) return Exit.fail(entered.error)
    if (entered instanceof Stage.Waiting) {
      return Effect.flatMap(entered.ticket, (ticket) => {
        this.outerTicket = ticket
        return this.start()
      })
    }
    this.outerTicket = entered
    return this.start()
  }

  private attempt(): Effect.Effect<any, any, any> {
    return !this.masked && this.deadline !== Infinity ? this.mask(() => this.enter(0)) : this.enter(0)
  }

  private mask(then: () => Effect.Effect<any, any, any>): Effect.Effect<any, any, any> {
    return Effect.uninterruptibleMask((restore) => {
      this.masked = true
      this.restore = restore
      return then()
    })
  }

  /** Asks the stages from the i-th on, then runs the effect. */
  private enter(i: number): Effect.Effect<any, any, any> {
    const { inner } = this.parts
    for (; i < inner.length; i++) {
      // it may have changed its mind while the call waited for a turn
      if (!this.masked && inner[i]!.holds) return this.mask(() => this.enter(i))
      const entered = inner[i]!.enter(this.fiber, this.restore)
      if (entered instanceof Stage.Refused) return this.refused(i, Cause.fail(entered.error))
      if (entered instanceof Stage.Waiting) {
        const at = i
        return Effect.matchCauseEffect(entered.ticket, {
          onSuccess: (ticket) => {
            ;(this.tickets ??= [])[at] = ticket
            return this.enter(at + 1)
          },
          onFailure: (cause) => this.refused(at, cause)
        })
      }
      ;(this.tickets ??= [])[i] = entered
    }
    if (this.deadline !== Infinity) this.startedAt = Time.monotonicMillis(this.fiber)
    return this.run()
  }

  /** What an attempt runs: after the first it has a span of its own, where the call is traced. */
  private get target(): Effect.Effect<any, any, any> {
    if (this.last === none) return this.effect
    const again = Traced.within(this.fiber, "Policy/retry", { "firebreak.name": this.parts.name }, this.effect)
    return this.paid === undefined ? again : Effect.suspend(() => {
      this.begun = true
      return again
    })
  }

  private run(): Effect.Effect<any, any, any> {
    const { timeout } = this.policy
    if (timeout === undefined) return Effect.matchCauseEffect(this.restore(this.target), this)
    const { error, millis } = timeout
    if (!timeout.byTimer) {
      const timed = Effect.timeoutFail(this.target, { duration: Duration.millis(millis), onTimeout: error })
      return Effect.matchCauseEffect(this.restore(timed), this)
    }
    this.timer = new Timer(this.fiber)
    const attempt = Effect.matchCauseEffect(this.restore(this.target), this)
    if (!isLive(this.fiber, millis)) return Effect.zipRight(this.timer.sleep(millis), attempt)
    this.timer.set(millis)
    return attempt
  }

  /** The i-th stage did not let the attempt pass: those before it are told that it was not started. */
  private refused(i: number, cause: Cause.Cause<any>): Effect.Effect<any, any, any> {
    this.leave(i, cause)
    return this.settle(cause)
  }

  private leave(count: number, cause: Cause.Cause<unknown> | undefined): void {
    for (let i = count - 1; i >= 0; i--) this.parts.inner[i]!.leave(this.tickets![i], cause, this.fiber)
  }

  /** The attempt failed with an error of the call's own, and the policy knows what that says to each part. */
  private leaveBy(classify: (error: any, part: Judge) => Verdict, error: unknown, cause: Cause.Cause<unknown>): void {
    const { inner, kinds } = this.parts
    for (let i = inner.length - 1; i >= 0; i--) {
      inner[i]!.leave(this.tickets![i], judged(() => classify(error, kinds[i]!), cause), this.fiber)
    }
  }

  readonly onSuccess = (value: unknown): Effect.Effect<any, any, any> => {
    if (this.timer !== undefined && this.isTimeUp()) return this.onFailure(Cause.fail(this.policy.timeout!.error()))
    this.leave(this.parts.inner.length, undefined)
    if (!this.isNested) this.parts.budget?.unsafeSucceeded(this.paid, this.fiber)
    return this.end(Exit.succeed(value))
  }

  readonly onFailure = (original: Cause.Cause<any>): Effect.Effect<any, any, any> => {
    const cause = this.timer !== undefined && this.isTimeUp() ? Cause.fail(this.policy.timeout!.error()) : original
    const told = this.deadline === Infinity
      ? cause
      : Stage.told(cause, this.fiber, { startedAt: this.startedAt, atLeast: this.policy.timeout?.millis ?? 0 })
    const { classify } = this.policy
    const error = classify === undefined || told !== original ? none : onlyFailure(original)
    if (error === none || Rejection.isRejection(error)) this.leave(this.parts.inner.length, told)
    else this.leaveBy(classify!, error, original)
    return this.settle(cause)
  }

  private isTimeUp(): boolean {
    const isUp = this.timer!.settle()
    this.timer = undefined
    return isUp
  }

  /** Retries, or ends with what the attempt has ended with. A fault in the user's functions ends the call as well. */
  private settle(cause: Cause.Cause<any>): Effect.Effect<any, any, any> {
    try {
      return this.decide(cause)
    } catch (defect) {
      return this.end(Exit.die(defect))
    }
  }

  private decide(cause: Cause.Cause<any>): Effect.Effect<any, any, any> {
    const failure = cause._tag === "Fail" ? cause.error : onlyFailure(cause)
    if (failure === none) return this.end(Exit.failCause(cause))
    if (Rejection.isRejection(failure)) return this.rejected(failure, cause)
    this.paid = undefined
    const { retry } = this.policy
    if (retry === undefined || !retry.isRetryable(failure)) return this.end(Exit.failCause(cause))
    this.last = failure
    // a retry that would be turned away is not waited for
    if (!retry.waits && this.isShut) return this.end(Exit.failCause(cause))
    // from where a retry is paid for, no interruption may pass by the refund
    return this.masked || this.parts.budget === undefined
      ? this.again(retry, failure)
      : this.mask(() => this.again(retry, failure))
  }

  private again({ plan, schedule }: NonNullable<Compiled["retry"]>, error: unknown): Effect.Effect<any, any, any> {
    if (plan === undefined) return this.drive(schedule, error)
    return plan.draws ? Effect.flatMap(Random.next, (u) => this.step(plan, error, u)) : this.step(plan, error, 0)
  }

  /** The attempt was not started. One that waits for its turn all the same has paid for it already. */
  private rejected(rejection: unknown, cause: Cause.Cause<any>): Effect.Effect<any, any, any> {
    this.begun = false
    if (this.policy.retry?.waits === true && rejection instanceof CircuitOpen) return this.await(rejection)
    // what the dependency itself said last is worth more
    return this.end(this.last === none ? Exit.failCause(cause) : Exit.fail(this.last))
  }

  private get isShut(): boolean {
    for (const stage of this.parts.inner) if (stage.isShut?.(this.fiber) === true) return true
    return false
  }

  /**
   * Waits until the circuit may let a call pass: an open one as long as it says; one that is probing or recovering may
   * do so at any moment, and is looked at ever more rarely.
   */
  private await(rejection: CircuitOpen): Effect.Effect<any, any, any> {
    const longest = Duration.toMillis(rejection.retryAfter)
    if (rejection.reason !== "probing" && rejection.reason !== "recovering") {
      this.looks = undefined
      return this.awaitFor(longest, rejection)
    }
    return Effect.flatMap(Random.next, (u) => {
      const [delay, looks] = BackoffCurve.delayAfter(glances, this.looks ?? BackoffCurve.start(glances), u, 0)
      this.looks = looks
      return this.awaitFor(Math.min(delay, longest), rejection)
    })
  }

  /** Tries again after the delay, unless the deadline comes first or nobody can tell when that is. */
  private awaitFor(delay: number, rejection: CircuitOpen): Effect.Effect<any, any, any> {
    const inTime = this.deadline === Infinity || Time.monotonicMillis(this.fiber) + delay < this.deadline
    if (!Number.isFinite(delay) || !inTime) return this.end(Exit.fail(this.last === none ? rejection : this.last))
    return this.wait(Effect.sleep(Duration.millis(Math.max(1, delay))))
  }

  /** One retry by a plan of Backoff's. */
  private step(plan: Plan<any, any>, error: unknown, u: number): Effect.Effect<any, any, any> {
    try {
      const step = plan.next(this.state ?? plan.start, error, u, () => Time.wallMillis(this.fiber))
      if (step === undefined || !this.mayRetry(error, step[0])) return this.end(Exit.fail(error))
      const [delay, state] = step
      this.state = state
      plan.tell(delay, state, error, this.fiber, this.parts.name)
      if (plan.hook !== undefined) {
        return this.wait(Effect.zipRight(plan.hook(delay, state, error), Effect.sleep(Duration.millis(delay))))
      }
      // back to the run loop, so the stack does not grow
      return delay === 0 ? this.attempt() : this.wait(Effect.sleep(Duration.millis(delay)))
    } catch (defect) {
      return this.end(Exit.die(defect))
    }
  }

  /** One retry by any other schedule. */
  private drive(schedule: Schedule.Schedule<any, any, any>, error: unknown): Effect.Effect<any, any, any> {
    const stepped = Effect.flatMap(
      Clock.currentTimeMillis,
      (now) =>
        Effect.map(
          schedule.step(now, error, this.driven === undefined ? schedule.initial : this.driven.state),
          (step) => [now, step] as const
        )
    )
    return Effect.matchCauseEffect(this.restore(stepped), {
      onFailure: (cause) => this.end(Exit.failCause(cause)),
      onSuccess: ([now, [state, _, decision]]) => {
        if (ScheduleDecision.isDone(decision)) return this.end(Exit.fail(error))
        this.driven = { state }
        const delay = Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
        if (!this.mayRetry(error, delay)) return this.end(Exit.fail(error))
        return delay === 0 ? this.attempt() : this.wait(Effect.sleep(Duration.millis(delay)))
      }
    })
  }

  /** Whether a retry after `delay` would begin before the deadline and is in the budget, which then has paid for it. */
  private mayRetry(error: unknown, delay: number): boolean {
    if (this.deadline !== Infinity && Time.monotonicMillis(this.fiber) + delay >= this.deadline) return false
    const { budget } = this.parts
    if (budget === undefined) return true
    if (this.isNested) return false
    const kind = RetryBudget.kindOf(error)
    if (!budget.unsafeTryRetry(kind, this.fiber)) return false
    this.paid = kind
    this.begun = false
    return true
  }

  private wait(pause: Effect.Effect<unknown, any, any>): Effect.Effect<any, any, any> {
    return Effect.matchCauseEffect(this.restore(pause), {
      onSuccess: () => this.attempt(),
      onFailure: (cause) => this.end(Exit.failCause(cause))
    })
  }

  /** A retry that never came to the effect has cost nothing. */
  private end(exit: Exit.Exit<any, any>): Exit.Exit<any, any> {
    if (this.paid !== undefined && !this.begun) this.parts.budget!.unsafeRefund(this.paid, this.fiber)
    this.parts.outer?.leave(this.outerTicket, exit._tag === "Success" ? undefined : exit.cause, this.fiber)
    return exit
  }
}

const same: Stage.Restore = (effect) => effect

const none = Symbol("none")

/** The waits between two looks at a circuit that is probing or recovering, in milliseconds; half of each is chance. */
const glances: BackoffCurve.Curve = { base: 100, factor: 2, cap: 5_000, jitter: "equal" }

/** Nothing to count, as a part takes it: it neither succeeded nor failed. */
const ignored = Cause.fail({ [Rejection.TypeId]: true })

/** What a part is told by this verdict; one that cannot be had is that of the part itself. */
const judged = (verdict: () => Verdict, cause: Cause.Cause<unknown>): Cause.Cause<unknown> | undefined => {
  try {
    switch (verdict()) {
      case "success":
        return undefined
      case "ignore":
        return ignored
      case "failure":
        return cause
    }
  } catch {
    return cause
  }
}

/** The typed failure of a cause that holds neither a defect nor an interruption beside it. */
const onlyFailure = (cause: Cause.Cause<unknown>): unknown => {
  if (Cause.isInterrupted(cause) || Option.isSome(Cause.dieOption(cause))) return none
  return Option.getOrElse(Cause.failureOption(cause), () => none)
}
