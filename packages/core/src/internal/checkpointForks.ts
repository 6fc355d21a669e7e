/** The fibers that the body of a run has forked. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Supervisor from "effect/Supervisor"
import { CurrentStep } from "../CheckpointEngine.js"

/** Watches the fibers that a body forks, those within its steps apart. */
export class Forks extends Supervisor.AbstractSupervisor<void> {
  private readonly alive = new Set<unknown>()
  /** Whether one ended by failure or interruption: what it recorded in an earlier attempt it may not have come to now. */
  private cut = false

  constructor(private readonly runId: string) {
    super()
  }

  /** Whether every fiber has ended, and by itself. */
  get settled(): boolean {
    return this.alive.size === 0 && !this.cut
  }

  override get value(): Effect.Effect<void> {
    return Effect.void
  }

  override onStart<A, E, R>(
    context: Context.Context<R>,
    _effect: Effect.Effect<A, E, R>,
    _parent: Option.Option<Fiber.RuntimeFiber<any, any>>,
    fiber: Fiber.RuntimeFiber<A, E>
  ): void {
    const step = Context.get(context, CurrentStep)
    if (Option.isNone(step) || step.value.runId !== this.runId) this.alive.add(fiber)
  }

  override onEnd<A, E>(exit: Exit.Exit<A, E>, fiber: Fiber.RuntimeFiber<A, E>): void {
    if (!this.alive.delete(fiber)) return
    // the workers of `Effect.all` end with the exit of their work as a value
    const value: unknown = Exit.isSuccess(exit) ? exit.value : undefined
    if (Exit.isFailure(exit) || (Exit.isExit(value) && Exit.isFailure(value))) this.cut = true
  }
}
