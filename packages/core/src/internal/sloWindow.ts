/**
 * What a sliding window knows of the answers of one name: how many, how good, how long at each level, and the longest
 * spell. Time is handed in, in milliseconds of a clock that only goes forward.
 *
 * It is a ring of buckets that expire when somebody looks. A bucket leaves as a whole, so the window is between
 * `length - length / buckets` and `length` long. A spell counts in full in the bucket in which it ended.
 */
import * as DegradationLevel from "../DegradationLevel.js"

const levels = DegradationLevel.Level.literals

/** Each bucket has these: answers, full ones, ones with a cached part, the longest spell, and the time at each level. */
const answers = 0
const full = 1
const cached = 2
const spell = 3
const times = 4
const series = times + levels.length

export interface Counted {
  readonly answers: number
  readonly full: number
  readonly cached: number
  /** Milliseconds: the longest spell that ended within the window or goes on. */
  readonly longestSpell: number
  /** Milliseconds of the spell that goes on. */
  readonly currentSpell: number | undefined
}

export class SloWindow {
  private readonly width: number
  private readonly ring: Float64Array
  /** Over all buckets. Counts are whole numbers, so nothing is lost by taking away what leaves. */
  private readonly sums = [0, 0, 0]
  private longest = 0
  /** The number, since the beginning of time, of the bucket that is being filled. */
  private current = -Infinity
  private level: DegradationLevel.Level | undefined
  /** Up to when the time at the current level is in the buckets. */
  private filled = 0
  private spellBegan: number | undefined

  constructor(length: number, private readonly buckets: number) {
    this.width = length / buckets
    this.ring = new Float64Array(buckets * series)
  }

  /** Until the next answer it is at the level of this one. */
  answered(level: DegradationLevel.Level, hasCached: boolean, now: number): void {
    this.advance(now)
    this.level = level
    this.count(answers)
    if (hasCached) this.count(cached)
    if (level !== "full") {
      this.spellBegan ??= now
      return
    }
    this.count(full)
    if (this.spellBegan === undefined) return
    const at = this.slot(this.current) + spell
    this.ring[at] = Math.max(this.ring[at]!, now - this.spellBegan)
    this.longest = Math.max(this.longest, this.ring[at]!)
    this.spellBegan = undefined
  }

  counted(now: number): Counted {
    this.advance(now)
    const currentSpell = this.spellBegan === undefined ? undefined : now - this.spellBegan
    return {
      answers: this.sums[answers]!,
      full: this.sums[full]!,
      cached: this.sums[cached]!,
      longestSpell: Math.max(this.longest, currentSpell ?? 0),
      currentSpell
    }
  }

  /** Milliseconds at a level, of the time since the first answer. */
  timeAt(level: DegradationLevel.Level, now: number): number {
    this.advance(now)
    const of = times + levels.indexOf(level)
    let sum = 0
    for (let i = 0; i < this.buckets; i++) sum += this.ring[i * series + of]!
    return sum
  }

  /** Drops what is too old at `now`, and writes down how long the current level has lasted. */
  private advance(now: number): void {
    const bucket = Math.floor(now / this.width)
    if (bucket > this.current) this.turn(bucket)
    if (this.level !== undefined) {
      const of = times + levels.indexOf(this.level)
      const first = Math.max(Math.floor(this.filled / this.width), this.current - this.buckets + 1)
      for (let i = first; i <= this.current; i++) {
        const from = Math.max(this.filled, i * this.width)
        const to = Math.min(now, (i + 1) * this.width)
        if (to > from) this.ring[this.slot(i) + of]! += to - from
      }
    }
    this.filled = Math.max(this.filled, now)
  }

  private turn(bucket: number): void {
    const last = Math.min(bucket, this.current + this.buckets)
    if (Number.isFinite(this.current)) {
      for (let i = this.current + 1; i <= last; i++) {
        const slot = this.slot(i)
        for (let of = 0; of < this.sums.length; of++) this.sums[of]! -= this.ring[slot + of]!
        this.ring.fill(0, slot, slot + series)
      }
      this.longest = 0
      for (let i = 0; i < this.buckets; i++) this.longest = Math.max(this.longest, this.ring[i * series + spell]!)
    }
    this.current = bucket
  }

  private count(of: number): void {
    this.ring[this.slot(this.current) + of]!++
    this.sums[of]!++
  }

  private slot(bucket: number): number {
    return (((bucket % this.buckets) + this.buckets) % this.buckets) * series
  }
}
