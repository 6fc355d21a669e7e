/**
 * Measures the candidates of one case side by side in this process: warmed up until each has run a second, then round by
 * round in rotating order, so that whatever slows the machine slows them alike and their ratios hold.
 */
export interface Candidate {
  readonly name: string
  /** What a caller gets from it: what is fast but promises less says so here. */
  readonly guarantees: string
  /** Runs for at least `millis` and finds out how much work makes a good sample. */
  readonly warmUp: (millis: number) => Promise<void>
  /** One sample, in the unit of the case. */
  readonly sample: () => Promise<number>
}

export interface Case {
  readonly name: string
  readonly unit: "ns" | "us" | "ms" | "B" | "flushes"
  /** Rounds in each process. Default 100. */
  readonly rounds?: number
  /** Makes the candidates; the first ones are ours, `baselines` names the others. */
  readonly candidates: () => Promise<ReadonlyArray<Candidate | Skipped>>
  readonly baselines: ReadonlyArray<string>
}

/** A candidate that cannot be measured here, and why. */
export interface Skipped {
  readonly name: string
  readonly skipped: string
}

/** What one process saw of a case: for each candidate its samples, in the order of the rounds. */
export interface Samples {
  readonly guarantees: Record<string, string>
  /** Why candidates are missing. */
  readonly skipped: Record<string, string>
  readonly samples: Record<string, ReadonlyArray<number>>
}

/** Time per call, in nanoseconds. `batch` makes that many calls, one after the other, and returns the sum of results. */
export const calls = (
  name: string,
  guarantees: string,
  batch: (calls: number) => Promise<number>
): Candidate => {
  let size = 1
  const timed = async (calls: number) => {
    const started = process.hrtime.bigint()
    const sum = await batch(calls)
    const nanos = Number(process.hrtime.bigint() - started)
    // every call returns 1: the results are used, and a candidate that did not do the work is found out
    if (sum !== calls) throw new Error(`${name}: ${calls} calls came to ${sum}`)
    return nanos
  }
  return {
    name,
    guarantees,
    warmUp: async (millis) => {
      for (let spent = 0; spent < millis * 1e6;) {
        const nanos = await timed(size)
        spent += nanos
        size = Math.max(1, Math.min(size * 2, Math.round((size * sampleNanos) / nanos)))
      }
    },
    sample: async () => (await timed(size)) / size
  }
}

/** Time of the whole, in milliseconds. */
export const once = (name: string, guarantees: string, run: () => Promise<unknown>): Candidate => {
  const sample = async () => {
    const started = performance.now()
    await run()
    return performance.now() - started
  }
  return {
    name,
    guarantees,
    warmUp: async (millis) => {
      for (let spent = 0; spent < millis;) spent += await sample()
    },
    sample
  }
}

/**
 * Time per unit of work, in microseconds: `run` does its work once and says how many units that were. A sample is what one
 * call takes, so that it should last some ten milliseconds or more.
 */
export const perUnit = (name: string, guarantees: string, run: () => Promise<number>): Candidate => {
  const sample = async () => {
    const started = performance.now()
    const units = await run()
    return ((performance.now() - started) * 1_000) / units
  }
  return {
    name,
    guarantees,
    warmUp: async (millis) => {
      for (const until = performance.now() + millis; performance.now() < until;) await sample()
    },
    sample
  }
}

/** A figure known without measuring. */
export const constant = (name: string, guarantees: string, value: number): Candidate => ({
  name,
  guarantees,
  warmUp: () => Promise.resolve(),
  sample: () => Promise.resolve(value)
})

/** Heap bytes that one of `count` instances holds on to. Needs `--expose-gc`. */
export const bytesEach = <A>(
  name: string,
  guarantees: string,
  count: number,
  make: (index: number) => A,
  dispose: (instance: A) => void = () => {}
): Candidate => {
  const sample = async () => {
    const instances: Array<A> = Array.from({ length: count })
    const before = await heap()
    for (let index = 0; index < count; index++) instances[index] = make(index)
    const after = await heap()
    instances.forEach(dispose)
    return (after - before) / count
  }
  return { name, guarantees, warmUp: async () => void (await sample()), sample }
}

/** Runs one case in this process. */
export const run = async (
  { candidates: make, rounds = 100 }: Case,
  options: { readonly only: ReadonlyArray<string>; readonly warmUpMillis: number }
): Promise<Samples> => {
  const made = (await make()).filter(({ name }) => options.only.length === 0 || options.only.includes(name))
  const candidates = made.flatMap((candidate) => "skipped" in candidate ? [] : [candidate])
  const skipped = made.flatMap((candidate) => "skipped" in candidate ? [candidate] : [])
  for (const candidate of candidates) await candidate.warmUp(options.warmUpMillis / 2)
  // again, now that the runtime has seen them all
  for (const candidate of candidates) await candidate.warmUp(options.warmUpMillis / 2)
  const samples = new Map<string, Array<number>>(candidates.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[(round + i) % candidates.length]!
      samples.get(candidate.name)!.push(await candidate.sample())
    }
  }
  return {
    guarantees: Object.fromEntries(candidates.map(({ guarantees, name }) => [name, guarantees])),
    skipped: Object.fromEntries(skipped.map(({ name, skipped }) => [name, skipped])),
    samples: Object.fromEntries(samples)
  }
}

/** Long enough for the clock and short enough that neighbours see the same machine. */
const sampleNanos = 5e6

const heap = async () => {
  if (globalThis.gc === undefined) throw new Error("run node with --expose-gc")
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return process.memoryUsage().heapUsed
}
