/** A first-in, first-out line of waiting fibers: joining, leaving from anywhere and waking the first are all O(1). */
import * as Effect from "effect/Effect"

/** One waiting fiber. Being woken says only that something changed: what did is for whoever woke it to write down. */
export class Waiter {
  previous: Waiter | undefined
  next: Waiter | undefined
  private isWoken = false
  private resume: ((effect: Effect.Effect<void>) => void) | undefined

  /** Waits until woken, which may have been before. */
  readonly woken: Effect.Effect<void> = Effect.async((resume) => {
    if (this.isWoken) resume(Effect.void)
    else this.resume = resume
  })

  wake(): void {
    this.isWoken = true
    this.resume?.(Effect.void)
  }
}

export class Line<W extends Waiter> {
  first: W | undefined
  size = 0
  private last: W | undefined

  join(waiter: W): void {
    waiter.previous = this.last
    if (this.last === undefined) this.first = waiter
    else this.last.next = waiter
    this.last = waiter
    this.size++
  }

  /** Whether the waiter was still in the line. */
  leave(waiter: W): boolean {
    if (waiter.previous === undefined && this.first !== waiter) return false
    // neighbours in this line are of its own kind
    if (waiter.previous === undefined) this.first = waiter.next as W | undefined
    else waiter.previous.next = waiter.next
    if (waiter.next === undefined) this.last = waiter.previous as W | undefined
    else waiter.next.previous = waiter.previous
    waiter.previous = undefined
    waiter.next = undefined
    this.size--
    return true
  }

  shift(): W | undefined {
    const first = this.first
    if (first !== undefined) this.leave(first)
    return first
  }
}
