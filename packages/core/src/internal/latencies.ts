/** The latest latencies, in milliseconds, and quantiles of them. */
export class Latencies {
  private readonly ring: Float64Array
  private next = 0
  private total = 0
  /** Samples since the quantile was computed. */
  private stale = Infinity
  private cached = NaN

  constructor(last: number, private readonly of: number, private readonly minimum: number) {
    this.ring = new Float64Array(last)
  }

  add(millis: number): void {
    this.ring[this.next] = millis
    this.next = (this.next + 1) % this.ring.length
    this.total++
    this.stale++
  }

  /**
   * The quantile by nearest rank, undefined while there are too few samples. Sorting is the cost, so once the ring is
   * full it is of samples up to a sixteenth of it old.
   */
  quantile(): number | undefined {
    const size = Math.min(this.total, this.ring.length)
    if (size < this.minimum) return undefined
    if (this.stale > (this.total > this.ring.length ? this.ring.length / 16 : 0)) {
      const sorted = this.ring.subarray(0, size).toSorted()
      this.cached = sorted[Math.max(0, Math.ceil(this.of * size) - 1)]!
      this.stale = 0
    }
    return this.cached
  }
}
