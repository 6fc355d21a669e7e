/** Every benchmark by name, with its cases. */
import * as Cluster from "./durable/cluster.js"
import * as Flushes from "./durable/flushes.js"
import * as KeyHit from "./durable/keyHit.js"
import * as Lock from "./durable/lock.js"
import * as Postgres from "./durable/postgres.js"
import * as Resume from "./durable/resume.js"
import * as Steps from "./durable/steps.js"
import type { Case } from "./measure.js"
import * as Breaker from "./policies/breaker.js"
import * as Bulkhead from "./policies/bulkhead.js"
import * as Memory from "./policies/memory.js"
import * as Policy from "./policies/policy.js"
import * as Rejection from "./policies/rejection.js"
import * as Retry from "./policies/retry.js"
import * as Timeout from "./policies/timeout.js"

export const benches: Record<string, ReadonlyArray<Case>> = {
  policies: [
    ...Policy.cases,
    ...Breaker.cases,
    ...Rejection.cases,
    ...Retry.cases,
    ...Timeout.cases,
    ...Bulkhead.cases,
    ...Memory.cases
  ],
  durable: [
    ...Steps.cases,
    ...Postgres.cases,
    ...Cluster.cases,
    ...Flushes.cases,
    ...KeyHit.cases,
    ...Resume.cases,
    ...Lock.cases
  ]
}
