/** The shell around a budget's account: takes the clock, asks, counts, tells. */
import * as Effect from "effect/Effect"
import type * as Events from "../Events.js"
import type * as RetryAllowance from "../RetryAllowance.js"
import type { Kind, RetryBudget, Stats } from "../RetryBudget.js"
import type { Measure } from "../Telemetry.js"
import type { Running } from "./stage.js"
import * as Time from "./time.js"

export class Budget implements RetryBudget {
  static readonly measures: ReadonlyArray<Measure<Budget>> = [
    ["firebreak_retry_budget_available", {}, ({ account }, now) => account.available(now)],
    ["firebreak_retry_budget_granted_total", {}, ({ granted }) => granted],
    ["firebreak_retry_budget_refused_total", {}, ({ refused }) => refused],
    ["firebreak_retry_budget_refunded_total", {}, ({ refunded }) => refunded]
  ]

  private readonly account: RetryAllowance.Account
  private granted = 0
  private refused = 0
  private refunded = 0
  /** Whether the last retry that was asked for was refused: one event tells of a whole dry spell. */
  private exhausted = false

  constructor(
    readonly name: string,
    private readonly allowance: RetryAllowance.Allowance,
    private readonly events: Events.Service
  ) {
    this.account = allowance.open()
  }

  get stats(): Effect.Effect<Stats> {
    return Effect.withFiberRuntime((fiber) => {
      const { granted, refunded, refused } = this
      return Effect.succeed({ available: this.account.available(this.now(fiber)), granted, refused, refunded })
    })
  }

  unsafeCalled(fiber: Running): void {
    this.account.called(this.now(fiber))
  }

  unsafeTryRetry(kind: Kind, fiber: Running): boolean {
    if (this.account.tryRetry(kind, this.now(fiber))) {
      this.granted++
      this.exhausted = false
      return true
    }
    this.refused++
    if (!this.exhausted && this.events.isActive()) {
      this.events.unsafePublish({ _tag: "RetryBudgetExhausted", budget: this.name }, Time.wallMillis(fiber))
    }
    this.exhausted = true
    return false
  }

  unsafeRefund(kind: Kind, fiber: Running): void {
    this.refunded++
    this.account.refund(kind, this.now(fiber))
  }

  unsafeSucceeded(retried: Kind | undefined, fiber: Running): void {
    this.account.succeeded(retried, this.now(fiber))
  }

  private now(fiber: Running): number {
    return this.allowance.timed ? Time.monotonicMillis(fiber) : NaN
  }
}
