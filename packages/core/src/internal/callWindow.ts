/**
 * Counts within a sliding window of time, in a ring of buckets that expire when somebody looks: no timer, and adding
 * allocates nothing. Time is handed in, in milliseconds of a clock that only goes forward.
 *
 * A bucket leaves as a whole, so the window is between `length - length / buckets` and `length` long.
 */
export class Window {
  private readonly counts: Float64Array
  private readonly sums: Float64Array
  private readonly width: number
  /** The number, since the beginning of time, of the bucket that is being filled. */
  private current = -Infinity

  constructor(length: number, private readonly buckets: number, private readonly series: number) {
    this.width = length / buckets
    this.counts = new Float64Array(buckets * series)
    this.sums = new Float64Array(series)
  }

  /** Drops what is too old at `now`. */
  expire(now: number): void {
    const bucket = Math.floor(now / this.width)
    if (bucket <= this.current) return
    if (bucket - this.current >= this.buckets) {
      this.counts.fill(0)
      this.sums.fill(0)
    } else {
      for (let i = this.current + 1; i <= bucket; i++) this.clear(this.slot(i))
    }
    this.current = bucket
  }

  /** Adds one to a series. */
  increment(series: number, now: number): void {
    this.expire(now)
    this.counts[this.slot(this.current) + series]!++
    this.sums[series]!++
  }

  /** Takes back the oldest one of a series; false if there is none. */
  takeBack(series: number, now: number): boolean {
    this.expire(now)
    if (this.sums[series] === 0) return false
    let i = this.current - this.buckets + 1
    while (this.counts[this.slot(i) + series] === 0) i++
    this.counts[this.slot(i) + series]!--
    this.sums[series]!--
    return true
  }

  /** The sum of a series as of the last call that was given the time. */
  sum(series: number): number {
    return this.sums[series]!
  }

  private slot(bucket: number): number {
    return (((bucket % this.buckets) + this.buckets) % this.buckets) * this.series
  }

  private clear(slot: number): void {
    for (let series = 0; series < this.series; series++) {
      this.sums[series]! -= this.counts[slot + series]!
      this.counts[slot + series] = 0
    }
  }
}
