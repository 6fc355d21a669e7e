/** One run for all who ask for the same thing at the same time; whoever leaves disturbs nobody. */
import * as Effect from "effect/Effect"

/** A value that many wait for. Leaving is O(1), where `Deferred` goes through all its waiters. */
export class Signal<A> {
  private readonly waiters = new Set<(value: Effect.Effect<A>) => void>()
  private result: Effect.Effect<A> | undefined

  get isDone(): boolean {
    return this.result !== undefined
  }

  get waiting(): number {
    return this.waiters.size
  }

  /** The first value counts. */
  done(value: A): void {
    if (this.result !== undefined) return
    const result = Effect.succeed(value)
    this.result = result
    for (const resume of this.waiters) resume(result)
    this.waiters.clear()
  }

  readonly await: Effect.Effect<A> = Effect.async<A>((resume) => {
    if (this.result !== undefined) return resume(this.result)
    this.waiters.add(resume)
    return Effect.sync(() => this.waiters.delete(resume))
  })
}

/** A run in flight under `id`. */
export class Flight<A> {
  /** Set once the store has agreed that the key goes with this flight's fingerprint. */
  readonly agreed = new Signal<void>()
  readonly landed = new Signal<A>()

  constructor(
    private readonly flights: Map<string, Flight<A>>,
    private readonly id: string,
    readonly fingerprint: string
  ) {
    flights.set(id, this)
  }

  /** Takes the flight off the map before anybody hears of it, so that who asks again starts afresh. */
  land(result: A): void {
    if (this.flights.get(this.id) === this) this.flights.delete(this.id)
    this.landed.done(result)
    this.agreed.done()
  }
}
