/** The decisions of a bulkhead: who runs, who waits, who is next. No time and no Effect. */
import { Line, type Waiter } from "./line.js"

export class Slots<W extends Waiter> {
  running = 0
  readonly line = new Line<W>()
  private total: number

  constructor(total: number, private readonly places: number) {
    this.total = total
  }

  /** Takes a slot if one is free; while calls wait, none is. */
  take(): boolean {
    if (this.running >= this.total) return false
    this.running++
    return true
  }

  /** Takes a place in the line if it has one. */
  join(waiter: W): boolean {
    if (this.line.size >= this.places) return false
    this.line.join(waiter)
    return true
  }

  /** Gives a slot back: straight to the first that waits, unless there are now fewer slots than run. */
  release(): void {
    const next = this.running > this.total ? undefined : this.line.shift()
    if (next === undefined) this.running--
    else next.wake()
  }

  /** A waiter goes. If it had just been given a slot, that goes to the next. */
  abandon(waiter: W): void {
    if (!this.line.leave(waiter)) this.release()
  }

  /** More slots go to waiters at once; fewer are fewer once enough calls have ended. */
  resize(total: number): void {
    this.total = total
    while (this.line.size > 0 && this.take()) this.line.shift()!.wake()
  }
}
