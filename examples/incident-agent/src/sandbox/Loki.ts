/**
 * Loki: range queries over log lines.
 *
 * Understood is a stream selector with line filters, `{service="payment-api", level=~"error|warn"} |= "timeout"`.
 * The labels are `service`, `level`, `pod` and `namespace`. Errors are plain text, as Loki's are.
 *
 * @since 0.1.0
 */
import * as Prometheus from "./Prometheus.js"
import * as Telemetry from "./Telemetry.js"
import * as Vendor from "./Vendor.js"

/**
 * Loki under `/loki`, without authentication.
 *
 * @since 0.1.0
 * @category vendors
 */
export const loki: Vendor.Vendor = {
  name: "loki",
  operations: ["queryRange"],
  routes: () => [{ method: "GET", path: "/loki/api/v1/query_range", operation: "queryRange", handle: queryRange }],
  refuse: (status, message, retryAfter) => ({
    status,
    contentType: "text/plain; charset=utf-8",
    body: message,
    headers: Vendor.retryAfterHeader(retryAfter)
  })
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const maxLimit = 5_000

const queryRange: Vendor.Handler = (fleet, call, now) => {
  const query = call.query.get("query") ?? ""
  const direction = call.query.get("direction") ?? "backward"
  const limit = Number(call.query.get("limit") ?? "100")
  const end = nanoseconds(call.query.get("end"), now)
  const start = nanoseconds(call.query.get("start"), (end ?? now) - 3_600_000)
  const refuse = (message: string) => Vendor.answered(fleet, loki.refuse(400, message), { target: query || null })
  const selected = parse(query)
  if (selected === undefined) {
    return refuse(`parse error at line 1, col 1: syntax error: cannot read ${query || "an empty query"}`)
  }
  if (start === undefined) return refuse(`could not parse 'start' parameter: ${call.query.get("start")}`)
  if (end === undefined) return refuse(`could not parse 'end' parameter: ${call.query.get("end")}`)
  if (end < start) return refuse("end timestamp must not be before or equal to start time")
  if (!Number.isInteger(limit) || limit < 1) return refuse("limit must be a positive value")
  if (limit > maxLimit) {
    return refuse(`max entries limit per query exceeded, limit > max_entries_limit_per_query (${limit} > ${maxLimit})`)
  }
  if (direction !== "backward" && direction !== "forward") return refuse(`invalid direction '${direction}'`)

  const sign = direction === "forward" ? 1 : -1
  const lines = Object.keys(fleet.workloads)
    .flatMap((service) =>
      Telemetry.logs(fleet, service, Math.max(start, now - Telemetry.retention.logs), Math.min(end, now))
    )
    .filter((line) => selected.labels(labelsOf(line)) && selected.lines.every((test) => test(line.message)))
    .toSorted((a, b) => sign * (a.at - b.at))
    .slice(0, limit)
  const streams = new Map<string, { stream: Record<string, string>; values: Array<readonly [string, string]> }>()
  for (const line of lines) {
    const stream = labelsOf(line)
    const id = JSON.stringify(stream)
    const entry = streams.get(id) ?? { stream, values: [] }
    entry.values.push([`${line.at}000000`, line.message])
    streams.set(id, entry)
  }
  return Vendor.answered(
    fleet,
    Vendor.json(200, {
      status: "success",
      data: { resultType: "streams", result: [...streams.values()], stats: {} }
    }),
    { target: query }
  )
}

const labelsOf = (line: Telemetry.LogLine): Record<string, string> => ({
  level: line.level,
  namespace: "production",
  pod: line.host,
  service: line.service
})

interface Selected {
  readonly labels: (labels: Readonly<Record<string, string>>) => boolean
  readonly lines: ReadonlyArray<(message: string) => boolean>
}

const parse = (query: string): Selected | undefined => {
  const match = /^\s*\{([^{}]+)\}\s*(.*)$/s.exec(query)
  const labels = match === null ? undefined : Prometheus.matchers(match[1] ?? "")
  if (match === null || labels === undefined) return undefined
  const lines: Array<(message: string) => boolean> = []
  const rest = (match[2] ?? "").trim()
  const filter = /\s*(\|=|\|~|!=|!~)\s*(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)/y
  while (filter.lastIndex < rest.length) {
    const found = filter.exec(rest)
    if (found === null) return undefined
    const [, operator = "|=", quoted, raw] = found
    const wanted = raw ?? (quoted ?? "").replace(/\\(.)/g, "$1")
    if (operator === "|=" || operator === "!=") {
      lines.push((message) => message.includes(wanted) === (operator === "|="))
    } else {
      const pattern = Prometheus.regex(wanted.replace(/^\(\?i\)/, ""), wanted.startsWith("(?i)") ? "i" : "")
      if (pattern === undefined) return undefined
      lines.push((message) => pattern.test(message) === (operator === "|~"))
    }
  }
  return { labels, lines }
}

/** Nanoseconds since the epoch, seconds with a fraction, or RFC 3339; in milliseconds. */
const nanoseconds = (text: string | null, fallback: number): number | undefined => {
  if (text === null || text === "") return fallback
  return /^\d{12,}$/.test(text) ? Number(text.slice(0, -6)) : Prometheus.time(text)
}
