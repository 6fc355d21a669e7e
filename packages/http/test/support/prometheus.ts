/** Reads the text exposition format 0.0.4, strictly: what Prometheus would refuse throws. */

export interface Sample {
  readonly name: string
  readonly labels: Record<string, string>
  readonly value: number
}

export interface Family {
  readonly type: string
  readonly help: string | undefined
  readonly samples: Array<Sample>
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*/
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*/

export const parse = (text: string): Map<string, Family> => {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line has no end")
  const families = new Map<string, Family>()
  const seen = new Set<string>()
  let help: readonly [name: string, text: string] | undefined
  let family: readonly [name: string, Family] | undefined
  for (const line of text.split("\n").slice(0, -1)) {
    if (line.startsWith("# HELP ")) {
      const [, name, rest] = /^# HELP (\S+) (.*)$/s.exec(line)!
      help = [name!, unescape(rest!)]
    } else if (line.startsWith("# TYPE ")) {
      const [, name, type] = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary)$/.exec(line)!
      if (families.has(name!)) throw new Error(`two families ${name}`)
      family = [name!, { type: type!, help: help?.[0] === name ? help?.[1] : undefined, samples: [] }]
      families.set(...family)
    } else {
      const sample = sampleOf(line)
      const [name, { samples }] = family!
      if (!sample.name.startsWith(name)) throw new Error(`${sample.name} in the family ${name}`)
      const key = JSON.stringify([sample.name, Object.entries(sample.labels).toSorted()])
      if (seen.has(key)) throw new Error(`two series ${key}`)
      seen.add(key)
      samples.push(sample)
    }
  }
  return families
}

const sampleOf = (line: string): Sample => {
  let rest = line
  const take = (pattern: RegExp): string => {
    const [found] = pattern.exec(rest) ?? []
    if (found === undefined) throw new Error(`${pattern} expected at ${JSON.stringify(rest)}`)
    rest = rest.slice(found.length)
    return found
  }
  const name = take(metricName)
  const labels: Record<string, string> = Object.create(null)
  if (rest.startsWith("{")) {
    take(/^\{/)
    while (!rest.startsWith("}")) {
      const label = take(labelName)
      if (label in labels) throw new Error(`two labels ${label}`)
      take(/^="/)
      labels[label] = unescape(take(/^(?:\\[\\"n]|[^\\"\n])*/))
      take(/^"/)
      if (!rest.startsWith("}")) take(/^,/)
    }
    take(/^\}/)
  }
  take(/^ /)
  const number = take(/^(?:[+-]Inf|NaN|-?[0-9.]+(?:e[+-]?\d+)?)$/)
  return { name, labels, value: number.endsWith("Inf") ? Number(`${number}inity`) : Number(number) }
}

const unescape = (text: string): string => text.replaceAll(/\\(.)/g, (_, char: string) => char === "n" ? "\n" : char)
