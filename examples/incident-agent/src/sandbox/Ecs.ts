/**
 * Amazon ECS in AWS JSON 1.1: DescribeServices and UpdateService on the cluster `production`. As in AWS, UpdateService
 * has no client token: each `forceNewDeployment` starts a deployment, so a blind retry starts two.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Aws from "./Aws.js"
import * as Fleet from "./Fleet.js"
import * as Vendor from "./Vendor.js"

/**
 * ECS under `/ecs`; calls must be signed (Signature Version 4), by any key.
 *
 * @since 0.1.0
 * @category vendors
 */
export const ecs: Vendor.Vendor = {
  name: "ecs",
  operations: ["describeServices", "updateService"],
  routes: () => [{ method: "POST", path: "/", operation, handle }],
  refuse: (status, message, retryAfter) => {
    const failure = Aws.failure(status)
    return refusal(failure.status, failure.code, message, Aws.retryAfterHeaders(retryAfter))
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const cluster = "production"

const arn = (kind: string, name: string) => `arn:aws:ecs:us-east-1:123456789012:${kind}/${name}`

const refusal = (status: number, type: string, message: string, headers: Readonly<Record<string, string>> = {}) =>
  Vendor.json(status, { __type: type, message }, headers, "application/x-amz-json-1.1")

const success = (value: unknown) => Vendor.json(200, value, {}, "application/x-amz-json-1.1")

const operation = (call: Vendor.Call): string =>
  ecs.operations.find((name) =>
    call.headers["x-amz-target"]?.toLowerCase() === `amazonec2containerservicev20141113.${name.toLowerCase()}`
  ) ?? "unknown"

const handle: Vendor.Handler = (fleet, call, now) => {
  if (!Aws.signed(call)) {
    return Vendor.answered(fleet, refusal(400, "MissingAuthenticationTokenException", "Missing Authentication Token"))
  }
  switch (operation(call)) {
    case "describeServices":
      return describeServices(fleet, call, now)
    case "updateService":
      return updateService(fleet, call, now)
    default:
      return Vendor.answered(fleet, refusal(400, "UnknownOperationException", "Unknown operation"))
  }
}

const ClusterName = Schema.optionalWith(Schema.String, { default: () => "default" })

const DescribeServices = Schema.Struct({
  cluster: ClusterName,
  services: Schema.Array(Schema.String).pipe(Schema.minItems(1), Schema.maxItems(10))
})

const describeServices: Vendor.Handler = (fleet, call, now) => {
  const decoded = Vendor.decodeJson(DescribeServices, call.body)
  if (Either.isLeft(decoded)) return invalid(fleet, decoded.left)
  const names = decoded.right.services.map(lastPart)
  const about = { target: names.join(",") }
  if (lastPart(decoded.right.cluster) !== cluster) return noCluster(fleet, about)
  const workloads = names.map((name) => Fleet.workloadNamed(fleet, name))
  return Vendor.answered(
    fleet,
    success({
      services: workloads.flatMap((workload) => workload === undefined ? [] : [describe(workload, now)]),
      failures: names.flatMap((name, i) =>
        workloads[i] === undefined ? [{ arn: arn("service", `${cluster}/${name}`), reason: "MISSING" }] : []
      )
    }),
    about
  )
}

const UpdateService = Schema.Struct({
  cluster: ClusterName,
  service: Schema.String,
  desiredCount: Vendor.maybe(Schema.Int.pipe(Schema.between(0, 100))),
  forceNewDeployment: Schema.optionalWith(Schema.Boolean, { default: () => false }),
  clientToken: Vendor.maybe(Schema.String)
})

const updateService: Vendor.Handler = (fleet, call, now) => {
  const decoded = Vendor.decodeJson(UpdateService, call.body)
  if (Either.isLeft(decoded)) return invalid(fleet, decoded.left)
  const { clientToken, desiredCount, forceNewDeployment } = decoded.right
  const service = lastPart(decoded.right.service)
  const about = { target: service, key: clientToken }
  if (lastPart(decoded.right.cluster) !== cluster) return noCluster(fleet, about)
  if (Fleet.workloadNamed(fleet, service) === undefined) {
    return Vendor.answered(fleet, refusal(400, "ServiceNotFoundException", "Service not found."), about)
  }
  const scaled = desiredCount === undefined
    ? fleet
    : Fleet.step(fleet, { _tag: "Scale", service, replicas: desiredCount }, now)
  const after = forceNewDeployment ? Fleet.step(scaled, { _tag: "Restart", service }, now) : scaled
  const workload = Fleet.workloadNamed(after, service)
  return Vendor.changed(fleet, after, success({ service: workload && describe(workload, now) }), about)
}

const invalid = (fleet: Fleet.Fleet, [{ message, path }]: readonly [Vendor.Problem, ...Array<Vendor.Problem>]) =>
  Vendor.answered(fleet, refusal(400, "InvalidParameterException", path === "" ? message : `${path}: ${message}`))

const noCluster = (fleet: Fleet.Fleet, about: Vendor.About) =>
  Vendor.answered(fleet, refusal(400, "ClusterNotFoundException", "Cluster not found."), about)

/** The name in an ARN, or the name itself. */
const lastPart = (name: string): string => name.slice(name.lastIndexOf("/") + 1)

const describe = (workload: Fleet.Workload, now: number) => {
  const total = Fleet.replicasAt(workload, now)
  const latest = Fleet.latestRollout(workload)
  const updated = Math.floor(total * Fleet.progress(latest, now))
  const complete = now >= latest.doneAt
  const previous = workload.rollouts.at(-2)
  const deployment = (rollout: Fleet.Change, status: "PRIMARY" | "ACTIVE", running: number) => ({
    id: `ecs-svc/${rollout.id}`,
    status,
    taskDefinition: arn("task-definition", `${workload.name}:7`),
    desiredCount: status === "PRIMARY" ? workload.replicas : 0,
    runningCount: running,
    pendingCount: status === "PRIMARY" ? Math.max(0, workload.replicas - running) : 0,
    failedTasks: 0,
    launchType: "FARGATE",
    createdAt: rollout.at / 1_000,
    updatedAt: Math.min(now, rollout.doneAt) / 1_000,
    rolloutState: status === "PRIMARY" && complete ? "COMPLETED" : "IN_PROGRESS",
    rolloutStateReason: `ECS deployment ecs-svc/${rollout.id} ${
      status === "PRIMARY" && complete ? "completed" : "in progress"
    }.`
  })
  return {
    serviceArn: arn("service", `${cluster}/${workload.name}`),
    serviceName: workload.name,
    clusterArn: arn("cluster", cluster),
    status: "ACTIVE",
    desiredCount: workload.replicas,
    runningCount: total,
    pendingCount: Math.max(0, workload.replicas - total),
    launchType: "FARGATE",
    taskDefinition: arn("task-definition", `${workload.name}:7`),
    createdAt: workload.rollouts[0].at / 1_000,
    deployments: [
      deployment(latest, "PRIMARY", complete ? total : updated),
      ...(complete || previous === undefined ? [] : [deployment(previous, "ACTIVE", total - updated)])
    ],
    events: complete
      ? [{
        id: `event-${latest.id}`,
        createdAt: latest.doneAt / 1_000,
        message: `(service ${workload.name}) has reached a steady state.`
      }]
      : [],
    loadBalancers: []
  }
}
