/**
 * Amazon ElastiCache in the AWS Query protocol: a form in, XML out. RebootCacheCluster takes no key and reboots each
 * time it is called; whether a reboot already happened shows in DescribeEvents from the moment it begins.
 *
 * @since 0.1.0
 */
import * as Aws from "./Aws.js"
import * as Fleet from "./Fleet.js"
import * as Vendor from "./Vendor.js"

/**
 * ElastiCache under `/elasticache`; calls must be signed (Signature Version 4), by any key.
 *
 * @since 0.1.0
 * @category vendors
 */
export const elasticache: Vendor.Vendor = {
  name: "elasticache",
  operations: ["describeCacheClusters", "rebootCacheCluster", "describeEvents"],
  routes: () => [{ method: "POST", path: "/", operation, handle }],
  refuse: (status, message, retryAfter) => {
    const failure = Aws.failure(status)
    return refusal(failure.status, failure.code, message, Aws.retryAfterHeaders(retryAfter))
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const namespace = "http://elasticache.amazonaws.com/doc/2015-02-02/"

const xml = (status: number, body: string, headers: Readonly<Record<string, string>> = {}): Vendor.Reply => ({
  status,
  contentType: "text/xml",
  body,
  headers
})

const escape = (text: string): string => text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`)

const refusal = (status: number, code: string, message: string, headers: Readonly<Record<string, string>> = {}) =>
  xml(
    status,
    `<ErrorResponse xmlns="${namespace}"><Error><Type>${status < 500 ? "Sender" : "Receiver"}</Type>` +
      `<Code>${code}</Code><Message>${escape(message)}</Message></Error><RequestId>sandbox</RequestId></ErrorResponse>`,
    headers
  )

const success = (action: string, result: string): Vendor.Reply =>
  xml(
    200,
    `<${action}Response xmlns="${namespace}"><${action}Result>${result}</${action}Result>` +
      `<ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata></${action}Response>`
  )

const operation = (call: Vendor.Call): string => {
  const action = new URLSearchParams(call.body).get("Action")?.toLowerCase()
  return elasticache.operations.find((name) => name.toLowerCase() === action) ?? "unknown"
}

const handle: Vendor.Handler = (fleet, call, now) => {
  if (!Aws.signed(call)) {
    return Vendor.answered(
      fleet,
      refusal(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    )
  }
  const form = new URLSearchParams(call.body)
  switch (operation(call)) {
    case "describeCacheClusters":
      return describeCacheClusters(fleet, form, now)
    case "rebootCacheCluster":
      return rebootCacheCluster(fleet, form, now)
    case "describeEvents":
      return describeEvents(fleet, form, now)
    default:
      return Vendor.answered(
        fleet,
        refusal(400, "InvalidAction", `Could not find operation ${form.get("Action")} for version 2015-02-02`)
      )
  }
}

type Handler = (fleet: Fleet.Fleet, form: URLSearchParams, now: number) => Vendor.Outcome

const notFound = (fleet: Fleet.Fleet, target: string) =>
  Vendor.answered(fleet, refusal(404, "CacheClusterNotFound", `CacheCluster not found: ${target}`), { target })

const describeCacheClusters: Handler = (fleet, form, now) => {
  const target = form.get("CacheClusterId")
  const caches = Object.values(fleet.caches).filter((cache) => target === null || cache.name === target)
  if (target !== null && caches.length === 0) return notFound(fleet, target)
  const clusters = caches.map((cache) => describe(cache, now, form.get("ShowCacheNodeInfo") === "true")).join("")
  return Vendor.answered(
    fleet,
    success("DescribeCacheClusters", `<CacheClusters>${clusters}</CacheClusters>`),
    { target }
  )
}

const rebootCacheCluster: Handler = (fleet, form, now) => {
  const target = form.get("CacheClusterId")
  if (target === null) {
    return Vendor.answered(
      fleet,
      refusal(400, "InvalidParameterValue", "The parameter CacheClusterId must be provided")
    )
  }
  const cache = Fleet.cacheNamed(fleet, target)
  if (cache === undefined) return notFound(fleet, target)
  const nodes = [...form].filter(([name]) => /^CacheNodeIdsToReboot\.(CacheNodeId|member)\.\d+$/.test(name))
    .map(([, node]) => node)
  const unknown = nodes.find((node) => !cache.nodes.includes(node))
  if (nodes.length === 0) {
    return Vendor.answered(
      fleet,
      refusal(400, "InvalidParameterValue", "The parameter CacheNodeIdsToReboot must be provided"),
      { target }
    )
  }
  if (unknown !== undefined) {
    return Vendor.answered(fleet, refusal(404, "CacheNodeNotFound", `CacheNode not found: ${unknown}`), { target })
  }
  const after = Fleet.step(fleet, { _tag: "RebootCache", cluster: target, nodes }, now)
  const cluster = describe(Fleet.cacheNamed(after, target) ?? cache, now, false)
  return Vendor.changed(
    fleet,
    after,
    success("RebootCacheCluster", cluster),
    { target }
  )
}

const describe = (cache: Fleet.Cache, now: number, withNodes: boolean): string => {
  const last = cache.reboots.at(-1)
  const rebooting = last !== undefined && now < last.doneAt
  const nodes = cache.nodes.map((node) =>
    `<CacheNode><CacheNodeId>${node}</CacheNodeId><CacheNodeStatus>${
      rebooting && last.nodes.includes(node) ? "rebooting" : "available"
    }</CacheNodeStatus><ParameterGroupStatus>in-sync</ParameterGroupStatus></CacheNode>`
  ).join("")
  return `<CacheCluster><CacheClusterId>${cache.name}</CacheClusterId>` +
    `<CacheClusterStatus>${rebooting ? "rebooting cluster nodes" : "available"}</CacheClusterStatus>` +
    `<CacheNodeType>cache.t4g.small</CacheNodeType><Engine>redis</Engine><EngineVersion>7.1.0</EngineVersion>` +
    `<NumCacheNodes>${cache.nodes.length}</NumCacheNodes>` +
    `<ARN>arn:aws:elasticache:us-east-1:123456789012:cluster:${cache.name}</ARN>` +
    `${withNodes ? `<CacheNodes>${nodes}</CacheNodes>` : ""}</CacheCluster>`
}

const describeEvents: Handler = (fleet, form, now) => {
  const target = form.get("SourceIdentifier")
  const type = form.get("SourceType")
  const time = (name: string) => {
    const text = form.get(name)
    return text === null ? undefined : Date.parse(text)
  }
  const minutes = Number(form.get("Duration") ?? "60")
  const maxRecords = Number(form.get("MaxRecords") ?? "100")
  const refuse = (message: string) => Vendor.answered(fleet, refusal(400, "InvalidParameterValue", message), { target })
  const end = time("EndTime") ?? now
  const start = time("StartTime") ?? end - minutes * 60_000
  if (Number.isNaN(start) || Number.isNaN(end)) return refuse("StartTime and EndTime must be ISO 8601 dates")
  if (!(minutes > 0)) return refuse("Duration must be a number of minutes")
  if (!(maxRecords >= 20 && maxRecords <= 100)) return refuse("MaxRecords must be between 20 and 100")
  if (target !== null && type === null) return refuse("SourceType must be given with SourceIdentifier")

  const events = Object.values(fleet.caches)
    .filter((cache) => (target === null || cache.name === target) && (type === null || type === "cache-cluster"))
    .flatMap((cache) =>
      cache.reboots.flatMap((reboot) =>
        reboot.nodes.flatMap((node) => [
          { source: cache.name, at: reboot.at, message: `Cache node ${node} shutdown` },
          { source: cache.name, at: reboot.doneAt, message: `Cache node ${node} restarted` }
        ])
      )
    )
    .filter(({ at }) => at >= start && at <= Math.min(end, now))
    .toSorted((a, b) => a.at - b.at)
    .slice(0, maxRecords)
    .map(({ at, message, source }) =>
      `<Event><SourceIdentifier>${source}</SourceIdentifier><SourceType>cache-cluster</SourceType>` +
      `<Message>${message}</Message><Date>${new Date(at).toISOString()}</Date></Event>`
    )
  return Vendor.answered(fleet, success("DescribeEvents", `<Events>${events.join("")}</Events>`), { target })
}
