/**
 * Kubernetes apps/v1 in the namespace `production`: a deployment read and patched, its scale read and patched. A patch
 * may change `spec.replicas` and the annotations of the pod template (a new `kubectl.kubernetes.io/restartedAt`
 * restarts the pods, the same value again changes nothing); any other field is refused rather than ignored.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Fleet from "./Fleet.js"
import * as Scenario from "./Scenario.js"
import * as Vendor from "./Vendor.js"

/**
 * Kubernetes under `/kubernetes`; wants any bearer token.
 *
 * @since 0.1.0
 * @category vendors
 */
export const kubernetes: Vendor.Vendor = {
  name: "kubernetes",
  operations: ["getDeployment", "patchDeployment", "getScale", "patchScale", "discover"],
  routes: () => [
    ...Object.entries(discovery).map(([path, document]): Vendor.Route => ({
      method: "GET",
      path: path as `/${string}`,
      operation: "discover",
      handle: (fleet) => Vendor.answered(fleet, Vendor.json(200, document), { target: path })
    })),
    { method: "GET", path, operation: "getDeployment", handle: found(getDeployment) },
    { method: "PATCH", path, operation: "patchDeployment", handle: found(patchDeployment) },
    { method: "GET", path: `${path}/scale`, operation: "getScale", handle: found(getScale) },
    { method: "PATCH", path: `${path}/scale`, operation: "patchScale", handle: found(patchScale) }
  ],
  refuse: (status, message, retryAfter) =>
    failure(status, reasons[status] ?? "InternalError", message, {
      ...(retryAfter !== undefined && { retryAfterSeconds: Math.ceil(retryAfter) })
    }, Vendor.retryAfterHeader(retryAfter))
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const namespace = "production"

const path = "/apis/apps/v1/namespaces/:namespace/deployments/:name"

const restartedAt = "kubectl.kubernetes.io/restartedAt"

/** How long the controller takes to see a change, in milliseconds. */
const observeDelay = 50

const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  503: "ServiceUnavailable",
  504: "Timeout"
}

const failure = (
  code: number,
  reason: string,
  message: string,
  details: Readonly<Record<string, unknown>> = {},
  headers: Readonly<Record<string, string>> = {}
): Vendor.Reply =>
  Vendor.json(
    code,
    { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, details, code },
    headers
  )

type Handler = (fleet: Fleet.Fleet, workload: Fleet.Workload, call: Vendor.Call, now: number) => Vendor.Outcome

const found = (handle: Handler): Vendor.Handler => (fleet, call, now) => {
  const name = call.params["name"] ?? ""
  const about = { target: name }
  if (!/^Bearer \S+$/.test(call.headers["authorization"] ?? "")) {
    return Vendor.answered(fleet, kubernetes.refuse(401, "Unauthorized"), about)
  }
  const workload = call.params["namespace"] === namespace ? Fleet.workloadNamed(fleet, name) : undefined
  if (workload === undefined) {
    return Vendor.answered(
      fleet,
      failure(404, "NotFound", `deployments.apps "${name}" not found`, { name, group: "apps", kind: "deployments" }),
      about
    )
  }
  return handle(fleet, workload, call, now)
}

const getDeployment: Handler = (fleet, workload, _call, now) =>
  Vendor.answered(fleet, Vendor.json(200, deployment(workload, now)), { target: workload.name })

const getScale: Handler = (fleet, workload, _call, now) =>
  Vendor.answered(fleet, Vendor.json(200, scale(workload, now)), { target: workload.name })

// what kubectl asks before its first command

const discovery = {
  "/api": { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] },
  "/api/v1": { kind: "APIResourceList", groupVersion: "v1", resources: [] },
  "/apis": {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: [{
      name: "apps",
      versions: [{ groupVersion: "apps/v1", version: "v1" }],
      preferredVersion: { groupVersion: "apps/v1", version: "v1" }
    }]
  },
  "/apis/apps/v1": {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: "apps/v1",
    resources: [
      {
        name: "deployments",
        singularName: "deployment",
        namespaced: true,
        kind: "Deployment",
        shortNames: ["deploy"],
        verbs: ["get", "patch"]
      },
      {
        name: "deployments/scale",
        singularName: "",
        namespaced: true,
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        verbs: ["get", "patch"]
      }
    ]
  }
}

// patches

const Replicas = Schema.Int.pipe(Schema.between(0, 100))
const Annotations = Schema.Record({ key: Schema.String, value: Schema.String })
const Identity = {
  apiVersion: Vendor.maybe(Schema.String),
  kind: Vendor.maybe(Schema.String),
  metadata: Vendor.maybe(Schema.Struct({
    name: Vendor.maybe(Schema.String),
    namespace: Vendor.maybe(Schema.String),
    resourceVersion: Vendor.maybe(Schema.String)
  }))
}

const DeploymentPatch = Schema.Struct({
  ...Identity,
  spec: Vendor.maybe(Schema.Struct({
    replicas: Vendor.maybe(Replicas),
    template: Vendor.maybe(Schema.Struct({
      metadata: Vendor.maybe(Schema.Struct({ annotations: Vendor.maybe(Annotations) }))
    }))
  }))
})

const ScalePatch = Schema.Struct({
  ...Identity,
  spec: Vendor.maybe(Schema.Struct({ replicas: Vendor.maybe(Replicas) }))
})

const patchDeployment: Handler = (fleet, workload, call, now) =>
  patch(DeploymentPatch, fleet, workload, call, ({ spec }) => {
    const annotations = spec?.template?.metadata?.annotations ?? {}
    const commands: Array<Fleet.Command> = []
    if (spec?.replicas !== undefined) {
      commands.push({ _tag: "Scale", service: workload.name, replicas: spec.replicas })
    }
    if (Object.keys(annotations).length > 0) {
      commands.push({ _tag: "Restart", service: workload.name, annotations })
    }
    return {
      after: commands.reduce((state, command) => Fleet.step(state, command, now), fleet),
      key: annotations[restartedAt],
      show: (workload) => deployment(workload, now)
    }
  })

const patchScale: Handler = (fleet, workload, call, now) =>
  patch(ScalePatch, fleet, workload, call, ({ spec }) => ({
    after: spec?.replicas === undefined
      ? fleet
      : Fleet.step(fleet, { _tag: "Scale", service: workload.name, replicas: spec.replicas }, now),
    key: undefined,
    show: (workload) => scale(workload, now)
  }))

interface Patched {
  readonly after: Fleet.Fleet
  readonly key: string | undefined
  readonly show: (workload: Fleet.Workload) => unknown
}

const patch = <A extends { readonly metadata?: { readonly resourceVersion?: string | undefined } | undefined }, I>(
  schema: Schema.Schema<A, I>,
  fleet: Fleet.Fleet,
  workload: Fleet.Workload,
  call: Vendor.Call,
  apply: (patch: A) => Patched
): Vendor.Outcome => {
  const about = { target: workload.name }
  const mediaType = (call.headers["content-type"] ?? "").split(";")[0]?.trim()
  if (mediaType !== "application/strategic-merge-patch+json" && mediaType !== "application/merge-patch+json") {
    return Vendor.answered(
      fleet,
      kubernetes.refuse(
        415,
        `the body of the request was in an unknown format - accepted media types include: ` +
          `application/merge-patch+json, application/strategic-merge-patch+json`
      ),
      about
    )
  }
  const decoded = Vendor.decodeJson(schema, call.body, { onExcessProperty: "error" })
  if (Either.isLeft(decoded)) {
    const [{ message, path }] = decoded.left
    return Vendor.answered(
      fleet,
      path === ""
        ? kubernetes.refuse(400, message)
        : failure(422, "Invalid", `Deployment.apps "${workload.name}" is invalid: ${path}: ${message}`, {
          name: workload.name,
          group: "apps",
          kind: "Deployment",
          causes: decoded.left.map(({ message, path }) => ({ reason: "FieldValueInvalid", message, field: path }))
        }),
      about
    )
  }
  const expected = decoded.right.metadata?.resourceVersion
  if (expected !== undefined && expected !== resourceVersion(workload)) {
    return Vendor.answered(
      fleet,
      failure(
        409,
        "Conflict",
        `Operation cannot be fulfilled on deployments.apps "${workload.name}": the object has been modified; ` +
          `please apply your changes to the latest version and try again`,
        { name: workload.name, group: "apps", kind: "deployments" }
      ),
      about
    )
  }
  const { after, key, show } = apply(decoded.right)
  const reply = Vendor.json(200, show(after.workloads[workload.name] ?? workload))
  const dryRun = call.query.get("dryRun")
  if (dryRun !== null && dryRun !== "All") {
    return Vendor.answered(
      fleet,
      kubernetes.refuse(422, `dryRun: Unsupported value: "${dryRun}": supported values: "All"`),
      about
    )
  }
  return Vendor.changed(fleet, dryRun === null ? after : fleet, reply, { ...about, key })
}

// objects

const resourceVersion = (workload: Fleet.Workload): string => String(100_000 + workload.generation)

const metadata = (workload: Fleet.Workload) => ({
  name: workload.name,
  namespace,
  uid: `00000000-0000-4000-8000-${workload.rollouts[0].id.slice(0, 12)}`,
  resourceVersion: resourceVersion(workload),
  generation: workload.generation,
  creationTimestamp: new Date(workload.rollouts[0].at).toISOString().replace(/\.\d+/, ""),
  labels: { app: workload.name }
})

const deployment = (workload: Fleet.Workload, now: number) => {
  const latest = Fleet.latestRollout(workload)
  const scaling = workload.scalings.at(-1)
  const total = Fleet.replicasAt(workload, now)
  const updated = Math.floor(total * Fleet.progress(latest, now))
  const rolledOut = now >= latest.doneAt
  // one pod at a time is replaced
  const available = rolledOut ? total : Math.max(0, total - 1)
  const changedAt = Math.max(latest.at, scaling?.at ?? 0)
  const complete = rolledOut && now >= (scaling?.doneAt ?? 0)
  const annotations = { "deployment.kubernetes.io/revision": String(workload.rollouts.length) }
  const image = Scenario.services[workload.name]?.image ?? workload.name
  const condition = (type: string, status: boolean, reason: string, message: string) => ({
    type,
    status: status ? "True" : "False",
    reason,
    message,
    lastUpdateTime: new Date(changedAt).toISOString(),
    lastTransitionTime: new Date(changedAt).toISOString()
  })
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { ...metadata(workload), annotations },
    spec: {
      replicas: workload.replicas,
      selector: { matchLabels: { app: workload.name } },
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } },
      template: {
        metadata: { labels: { app: workload.name }, annotations: workload.annotations },
        spec: { containers: [{ name: workload.name, image }] }
      }
    },
    status: {
      observedGeneration: now < changedAt + observeDelay ? workload.generation - 1 : workload.generation,
      replicas: total,
      updatedReplicas: updated,
      readyReplicas: available,
      availableReplicas: available,
      ...(total > available && { unavailableReplicas: total - available }),
      conditions: [
        condition("Available", true, "MinimumReplicasAvailable", "Deployment has minimum availability."),
        complete
          ? condition("Progressing", true, "NewReplicaSetAvailable", "ReplicaSet has successfully progressed.")
          : condition("Progressing", true, "ReplicaSetUpdated", "ReplicaSet is progressing.")
      ]
    }
  }
}

const scale = (workload: Fleet.Workload, now: number) => ({
  apiVersion: "autoscaling/v1",
  kind: "Scale",
  metadata: metadata(workload),
  spec: { replicas: workload.replicas },
  status: { replicas: Fleet.replicasAt(workload, now), selector: `app=${workload.name}` }
})
