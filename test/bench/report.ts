/** From samples to figures: medians with their extremes, ratios paired round by round. */
import type { Case, Samples } from "./measure.js"

/** One line of `--json`: `candidate` beside `baseline`, ratio = candidate / baseline. */
export interface Line {
  readonly bench: string
  readonly case: string
  readonly candidate: string
  readonly unit: string
  readonly median: number
  readonly min: number
  readonly max: number
  readonly baseline: string
  readonly ratio: number
  readonly ratioMin: number
  readonly ratioMax: number
}

/**
 * All pairs of one of ours and one of the others; then the others, each beside itself, for their raw figures. Where there
 * are no others, ours stand beside themselves.
 */
export const lines = (
  bench: string,
  { baselines, name, unit }: Case,
  processes: ReadonlyArray<Samples>
): Array<Line> => {
  const samplesOf = (candidate: string) => processes.flatMap(({ samples }) => samples[candidate] ?? [])
  const measured = Object.keys(processes[0]?.samples ?? {})
  const line = (candidate: string, baseline: string): Line => {
    const ours = samplesOf(candidate)
    const theirs = samplesOf(baseline)
    const ratio = spread(ours.map((value, round) => value / theirs[round]!))
    return {
      bench,
      case: name,
      candidate,
      unit,
      ...spread(ours),
      baseline,
      ratio: ratio.median,
      ratioMin: ratio.min,
      ratioMax: ratio.max
    }
  }
  const others = measured.filter((candidate) => baselines.includes(candidate))
  const ours = measured.filter((candidate) => !baselines.includes(candidate))
  return [
    ...ours.flatMap((candidate) =>
      (others.length > 0 ? others : [candidate]).map((baseline) => line(candidate, baseline))
    ),
    ...others.map((candidate) => line(candidate, candidate))
  ]
}

/** The same for people. */
export const table = (all: ReadonlyArray<Line>): string => {
  const rows = all.map(({ baseline, candidate, max, median, min, ratio, ratioMax, ratioMin, unit }) => [
    candidate,
    `${median.toLocaleString("en-US")} ${unit}`,
    `${min.toLocaleString("en-US")} to ${max.toLocaleString("en-US")}`,
    ...(candidate === baseline ? ["", ""] : [`${ratio} of ${baseline}`, `${ratioMin} to ${ratioMax}`])
  ])
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      `  ${
        row.map((cell, column) => column === 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)).join(
          "  "
        ).trimEnd()
      }`
    )
    .join("\n")
}

const spread = (values: ReadonlyArray<number>) => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median: figures(median), min: figures(sorted[0]!), max: figures(sorted.at(-1)!) }
}

/** Three figures and no fewer than the whole number: more than that no run repeats. */
const figures = (value: number) => value >= 1_000 ? Math.round(value) : Number(value.toPrecision(3))
