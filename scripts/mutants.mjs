// Plants bugs, one at a time, in copies of @firebreak/core and @firebreak/sql, and runs the tests that should notice.
//   pnpm test:mutants            all of them
//   pnpm test:mutants --quick    every fourth of those of core, as CI does
//   pnpm test:mutants NAME ...   those whose name contains NAME
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"

/** [what is wrong, file, text, what it becomes, tests]; the file in packages/core/src, or `sql:` and in packages/sql/src */
const mutants = [
  [
    "breaker: a result of another epoch counts",
    "CircuitState.ts",
    "if (permit.epoch !== state.epoch) return state",
    "",
    ["CircuitState", "CircuitBreaker"]
  ],
  [
    "breaker: one probe too many",
    "CircuitState.ts",
    "state.probes.length >= config.halfOpenPermits",
    "state.probes.length > config.halfOpenPermits",
    ["CircuitState"]
  ],
  ["breaker: a hung probe wedges it", "CircuitState.ts", "probe.expiresAt <= now", "probe.expiresAt < 0", [
    "CircuitState"
  ]],
  [
    "breaker: a failed probe only frees its permit",
    "CircuitState.ts",
    "if (verdict === \"failure\") return open(config, state.epoch, state.openings + 1, now, draw)",
    "if (verdict === \"failure\") return { ...state, probes }",
    ["CircuitState"]
  ],
  [
    "breaker: an interrupted probe keeps its permit",
    "internal/breaker.ts",
    "return this.state._tag !== \"Closed\"",
    "return false",
    ["CircuitBreaker"]
  ],
  [
    "breaker: a rejection counts as a failure",
    "internal/verdict.ts",
    "if (Rejection.isRejection(failure.value)) return \"ignore\"",
    "",
    ["CircuitBreaker"]
  ],
  [
    "breaker: reads the wall clock",
    "internal/time.ts",
    "Number(clockOf(fiber).unsafeCurrentTimeNanos()) / 1e6",
    "clockOf(fiber).unsafeCurrentTimeMillis()",
    ["CircuitBreaker"]
  ],
  [
    "breaker: the window keeps a bucket too long",
    "internal/callWindow.ts",
    "const oldest = Math.max(slot, window.slot) - buckets",
    "const oldest = Math.max(slot, window.slot) - buckets - 1",
    ["CircuitState"]
  ],
  [
    "breaker: openings do not add up",
    "CircuitState.ts",
    "return open(config, state.epoch, state.openings + 1, now, draw)",
    "return open(config, state.epoch, 1, now, draw)",
    ["CircuitBreaker"]
  ],
  [
    "backoff: the budget is looked at after the wait",
    "Backoff.ts",
    "return next.waited > budget",
    "return state.waited > budget",
    ["Backoff"]
  ],
  ["backoff: no cap", "BackoffCurve.ts", "Math.min(curve.cap, drawn)", "drawn", ["Backoff"]],
  ["backoff: Retry-After is not clamped", "internal/adjust.ts", "Math.min(millis, cap)", "millis", ["Backoff"]],
  ["timeout: interrupts children it does not own", "internal/timer.ts", "internals._children = null", "", ["timeout"]],
  [
    "timeout: the fiber stays interrupted",
    "internal/timer.ts",
    "!(part._tag === \"Interrupt\" && part.fiberId === id)",
    "true",
    ["timeout"]
  ],
  [
    "timeout: takes back interruptions of others too",
    "internal/timer.ts",
    "!(part._tag === \"Interrupt\" && part.fiberId === id)",
    "false",
    ["timeout"]
  ],
  [
    "policy: a failed call keeps its slot",
    "internal/policyCall.ts",
    "this.parts.outer?.leave(",
    "if (exit._tag === \"Success\") this.parts.outer?.leave(",
    ["PolicyParts"]
  ],
  [
    "policy: retries what was rejected",
    "internal/policyCall.ts",
    "if (Rejection.isRejection(failure)) return this.rejected(failure, cause)",
    "",
    ["Policy.test"]
  ],
  [
    "policy: waits for a retry that is turned away",
    "internal/policyCall.ts",
    "stage.isShut?.(this.fiber) === true",
    "false",
    ["Policy.test"]
  ],
  [
    "policy: nested retries multiply",
    "internal/policyCall.ts",
    "if (this.isNested) return false",
    "",
    ["PolicyParts"]
  ],
  [
    "policy: nested calls are counted each",
    "internal/policyCall.ts",
    "if (!this.isNested) this.parts.budget?.unsafeCalled",
    "this.parts.budget?.unsafeCalled",
    ["Policy.test"]
  ],
  [
    "policy: a retry is refunded whenever it is turned away",
    "internal/policyCall.ts",
    "    this.begun = false\n    if (",
    "    if (this.paid !== undefined) this.parts.budget!.unsafeRefund(this.paid, this.fiber)\n    if (",
    ["PolicyParts"]
  ],
  [
    "policy: a retry that a part within turned away is not refunded",
    "internal/policyCall.ts",
    "    this.begun = false\n    if (",
    "    if (",
    ["RetryBudget"]
  ],
  [
    "policy: a retry that ran is refunded",
    "internal/policyCall.ts",
    "this.begun = true",
    "",
    ["PolicyParts"]
  ],
  [
    "policy: an interruption passes by the refund",
    "internal/policyCall.ts",
    "return this.masked || this.parts.budget === undefined\n",
    "return Math.max() < 0\n",
    ["RetryBudget"]
  ],
  [
    "policy: a probe is waited for until it has timed out",
    "internal/policyCall.ts",
    "rejection.reason !== \"probing\"",
    "true",
    ["Policy.test"]
  ],
  [
    "bulkhead: a waiter that left keeps its permit",
    "internal/slots.ts",
    "if (!this.line.leave(waiter)) this.release()",
    "this.line.leave(waiter)",
    ["Bulkhead", "slots"]
  ],
  [
    "bulkhead: an abandoned waiter stays in line",
    "internal/slots.ts",
    "if (!this.line.leave(waiter)) this.release()",
    "",
    ["Bulkhead", "slots"]
  ],
  ["bulkhead: the timer of a wait runs on", "Bulkhead.ts", "running.unsafeInterruptAsFork(running.id())", "", [
    "Bulkhead",
    "storms"
  ]],
  [
    "bulkhead: the last that came is the next",
    "internal/line.ts",
    "const first = this.first",
    "const first = this.last",
    [
      "slots"
    ]
  ],
  ["timeout: the timer of a call that ended runs on", "internal/timer.ts", "clearTimeout(this.handle)", "", ["storms"]],
  ["hedge: the losers run on", "Hedge.ts", "yield* Fiber.interruptAll(attempts.all)", "", ["storms"]],
  [
    "concurrency limit: an interrupted call stays in flight",
    "ConcurrencyLimit.ts",
    "this.inFlight--\n    const verdict",
    "if (cause === undefined || cause._tag === 'Fail') this.inFlight--\n    const verdict",
    ["storms"]
  ],
  ["concurrency limit: idle calls raise it", "LimitStrategy.ts", "window.maxInFlight < limit / 2 ? limit : ", "", [
    "LimitStrategy"
  ]],
  [
    "throttle: a window forgets all of it at once",
    "internal/window.ts",
    "if (bucket - this.current >= this.buckets) {",
    "if (bucket - this.current >= 1) {",
    ["window"]
  ],
  [
    "breaker: a relapse counts as the first opening",
    "CircuitState.ts",
    "state._tag === \"Closed\" ? 1 : state.openings + 1",
    "1",
    [
      "CircuitState"
    ]
  ],
  ["breaker: the ramp does not rise", "CircuitState.ts", "(1 - from) * Math.max(0, now - state.since) / over", "0", [
    "CircuitState"
  ]],
  ["rate limit: only the latest start is charged", "internal/gcra.ts", "Math.max(tat, at) + cost", "at + cost", [
    "gcra",
    "RateLimit"
  ]],
  [
    "rate limit: the first of several limits decides",
    "internal/gcra.ts",
    "i < limits.length; i++) {\n    at = ",
    "i < 1; i++) {\n    at = ",
    ["gcra"]
  ],
  ["retry budget: peeked at, not consumed", "RetryAllowance.ts", "this.left -= cost", "", ["RetryBudget"]],
  ["retry budget: a rejected retry is not refunded", "RetryAllowance.ts", "this.add(this.costOf(kind))", "", [
    "RetryBudget"
  ]],
  ["degradation: a constant counts as a whole value", "DegradationLevel.ts", "0.5", "1", ["DegradationLevel"]],
  [
    "degradation: everybody refreshes a stale value",
    "internal/revalidate.ts",
    "keys.has(key) || ",
    "",
    ["DegradationRefresh"]
  ],
  [
    "degradation: a refresh is held to its caller's deadline",
    "internal/revalidate.ts",
    "Deadline.without(refresh)",
    "refresh",
    ["DegradationRefresh"]
  ],
  [
    "degradation: after the deadline alternates are asked all the same",
    "internal/askChain.ts",
    "isLive ? before",
    "false ? before",
    ["DegradationDeadline"]
  ],
  ["slo: a bucket that left still counts", "internal/sloWindow.ts", "this.sums[of]! -=", "this.sums[of]! +=", [
    "DegradationSlo"
  ]],
  ["slo: the longest spell never leaves", "internal/sloWindow.ts", "this.longest = 0\n      for", "for", [
    "DegradationSlo"
  ]],
  ["slo: told again with every answer", "internal/sloAccount.ts", "this.violated.add(objective)", "void 0", [
    "DegradationSlo"
  ]],
  [
    "idempotency: the payload's fingerprint is ignored",
    "IdempotencyState.ts",
    "fingerprint !== ",
    "fingerprint === undefined && '' !== ",
    ["Idempotency"]
  ],
  [
    "idempotency: an owner that was taken over may still write",
    "IdempotencyState.ts",
    "known.state === \"started\" && known.token === token",
    "known.state === \"started\"",
    ["IdempotencyProtocol", "IdempotencyStore"]
  ],
  [
    "idempotency: a reset does not reach what is kept in memory",
    "internal/replays.ts",
    "generation !== this.generation",
    "generation < this.generation",
    ["Idempotency"]
  ],
  [
    "checkpoint: changed code goes unnoticed",
    "CheckpointHistory.ts",
    "due !== undefined && due !== found",
    "due === history.steps",
    ["Checkpoint"]
  ],
  [
    "checkpoint: undone in the order in which it was done",
    "internal/checkpointSteps.ts",
    "!undone.has(name)).toReversed()",
    "!undone.has(name))",
    ["Checkpoint"]
  ],
  [
    "checkpoint: a signal counts after its time",
    "CheckpointMemory.ts",
    "(_) => _ <= millis",
    "(_) => _ < 0",
    ["Checkpoint"]
  ],
  [
    "checkpoint: what died is never given up",
    "CheckpointMemory.ts",
    "found.stalls > request.maxStalls",
    "found.stalls < 0",
    ["Checkpoint"]
  ],
  ["health: a hung check holds up the loop", "internal/bounded.ts", "Effect.sleep(timeout)", "Effect.never", [
    "Health"
  ]],
  [
    "health: a symptom is treated",
    "HealingState.ts",
    "!check.passing && check.because === undefined &&",
    "!check.passing &&",
    ["HealthDependencies"]
  ],
  [
    "health: what passes beside a failing dependency counts as passing",
    "Health.ts",
    "passing: false, because: roots",
    "because: roots",
    [
      "HealthDependencies"
    ]
  ],
  [
    "healing: told of after it ran",
    "HealingLoop.ts",
    "      yield* this.publish(appliedEvent(action, false))\n      const ran = yield* guard.run(closeOver(this.context)(remedy.effect))",
    "      const ran = yield* guard.run(closeOver(this.context)(remedy.effect))\n      yield* this.publish(appliedEvent(action, false))",
    ["HealingWorlds"]
  ],
  [
    "healing: a limit that is no number lets it run",
    "HealingState.ts",
    "!(use.attempts < remedy.attempts)",
    "use.attempts >= remedy.attempts",
    [
      "HealingState"
    ]
  ],
  [
    "healing: an attempt counts once it was made",
    "HealingLoop.ts",
    "yield* this.keep\n      let latest = report\n",
    "let latest = report\n",
    ["HealingStore"]
  ],
  [
    "healing: what was tried before is written over unread",
    "internal/healingMemory.ts",
    "if (!isRead || ",
    "if (",
    ["HealingStore"]
  ],
  ["options: what is mistyped is passed over", "InvalidOption.ts", "!Object.hasOwn(shape, key)", "false", ["options"]],
  ["healing: no cooldown", "HealingState.ts", "!(now - use.lastAt >= remedy.cooldown)", "false", ["HealingWorlds"]],
  [
    "healing: acts after it called people",
    "HealingState.ts",
    "state._tag === \"Escalated\" ? [state, []] : pick",
    "pick",
    [
      "HealingWorlds"
    ]
  ],
  [
    "escalation: a drill that hangs is awaited",
    "Escalation.ts",
    "Effect.timeoutOption(within)",
    "Effect.asSome",
    ["Escalation"]
  ],
  ["restartable: users keep the old instance", "Restartable.ts", "Effect.flatMap(now, f)", "f(first)", ["Restartable"]],
  [
    "timer: what a branch has forked outlives its time",
    "internal/timer.ts",
    "internals.setFiberRef(forkScope, Option.none())",
    "void 0",
    [
      "timeout"
    ]
  ],
  ["failover: a primary that flaps is followed", "FailoverState.ts", "holdFor * 2 ** flaps", "holdFor", ["Failover"]],
  [
    "failover: the way back after one healthy probe",
    "FailoverState.ts",
    "streaks[0]! >= settings.failbackAfter",
    "streaks[0]! > 0",
    [
      "Failover"
    ]
  ],
  [
    "supervision: one restart too many",
    "SupervisionState.ts",
    "recent.length >= settings.maxRestarts",
    "recent.length > settings.maxRestarts",
    [
      "Supervision"
    ]
  ],
  ["supervision: the wait never begins anew", "SupervisionState.ts", "ran >= settings.resetAfter ? 0 : ", "", [
    "Supervision"
  ]],
  ["autoscale: shrinks at the first dip", "Autoscale.ts", "now - at < settings.cooldownIn", "false", ["Autoscale"]],
  ["reconcile: believes a source that lost its data", "Reconcile.ts", "!limits.removes || ", "!limits.removes && ", [
    "Reconcile"
  ]],
  [
    "loop guard: repeats are never forgotten",
    "LoopGuardState.ts",
    "recent = state.actions.filter(({ at }) => now - at < limits.within)",
    "recent = state.actions",
    [
      "LoopGuard"
    ]
  ],
  [
    "loop guard: goes on once it has stopped",
    "LoopGuardState.ts",
    "if (state.stopped !== undefined) return [state, state.stopped]",
    "",
    [
      "LoopGuard"
    ]
  ],
  [
    "checkpoint: a step leaves its context in the fiber that began it",
    "internal/runtime.ts",
    "const fiber = current(this.fiber)",
    "const fiber = this.fiber",
    ["CheckpointFibers"]
  ],
  [
    "checkpoint: what a step sets in a FiberRef is lost",
    "internal/runtime.ts",
    "if (internals._fiberRefs === this.inside) internals.setFiberRefs(this.before)",
    "if (this.inside !== undefined) internals.setFiberRefs(this.before)",
    ["CheckpointFibers"]
  ],
  [
    "checkpoint: a run hides its fibers from who supervises the caller",
    "internal/runtime.ts",
    "outer.zip(supervisor)",
    "supervisor",
    ["CheckpointFibers"]
  ],
  [
    "checkpoint: the lease of a run that has ended is renewed",
    "internal/checkpointAttempt.ts",
    "    life.letGo(fiber)\n",
    "",
    ["CheckpointFibers"]
  ],
  [
    "sqlite: with many runs the other thread keeps what it knew",
    "sql:internal/writer/committer.js",
    "if (told === \"many\") return table.heads.clear()",
    "if (told === \"many\") return",
    ["threads"]
  ],
  [
    "sqlite: who was taken over may still record",
    "sql:internal/writer/runTable.js",
    "WHERE id = ? AND token = ? AND (owner IS NOT NULL OR ?)",
    "WHERE id = ? AND ? IS NOT NULL AND (owner IS NOT NULL OR ?)",
    ["threads"]
  ],
  [
    "sqlite: a recorded step stays in doubt",
    "sql:internal/writer/runTable.js",
    "if (begun) removeStarted.run(run, name)",
    "",
    ["threads"]
  ],
  [
    "sqlite: a thread does not tell the other of a step that it began",
    "sql:internal/writer/runTable.js",
    "    heads.set(runId, head)\n    changes.touched.add(runId)",
    "    heads.set(runId, head)",
    ["threads"]
  ],
  [
    "sqlite: a thread does not tell the other of a step that it recorded",
    "sql:internal/writer/committer.js",
    "for (const runIds of [advanced.keys(), touched, gone]) {",
    "for (const runIds of [touched, gone]) {",
    ["threads"]
  ],
  [
    "sqlite: the anchor does not hear of what was committed",
    "sql:internal/writer/committer.js",
    "anchor.advance(advanced.values())",
    "",
    ["SqlStore"]
  ],
  [
    "sqlite: a deleted run is still in the anchor",
    "sql:internal/writer/committer.js",
    "anchor.retract([...gone], gone.size === 0 ? 0 : Number(token.get()))",
    "",
    ["SqlStore"]
  ]
]

const [first, ...rest] = process.argv.slice(2)
const wanted = first === "--quick"
  ? mutants.filter(([, file], i) => i % 4 === 0 && !file.startsWith("sql:"))
  : first === undefined
  ? mutants
  : mutants.filter(([name]) => [first, ...rest].some((part) => name.includes(part)))
if (wanted.length === 0) {
  process.stderr.write(`no mutant is named like that; there are:\n${mutants.map(([name]) => `  ${name}`).join("\n")}\n`)
  process.exit(2)
}

const copyOf = (place) => `.tsbuild/mutants/${place.startsWith("sql:") ? "sql" : "core"}`
const filter = (test) => `test/${test}`

/** Runs the tests of a copy, and returns the status: `null` where they were not over in time. */
const vitest = (copy, timeout, ...parameters) => {
  const { error, pid, status } = spawnSync("node_modules/.bin/vitest", ["run", "--root", copy, ...parameters], {
    detached: true,
    stdio: "ignore",
    timeout
  })
  if (error === undefined) return status
  if (error.code !== "ETIMEDOUT") throw error
  // vitest ends with a status of its own, and leaves a worker behind that loops: all of its group
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // there is none left
  }
  return null
}

for (const name of ["core", "sql"]) {
  const copy = `.tsbuild/mutants/${name}`
  rmSync(copy, { recursive: true, force: true })
  mkdirSync(copy, { recursive: true })
  for (const part of ["src", "test", "package.json", "vitest.config.ts"]) {
    cpSync(`packages/${name}/${part}`, `${copy}/${part}`, { recursive: true })
  }
  symlinkSync(`${process.cwd()}/packages/${name}/node_modules`, `${copy}/node_modules`)
}

// what is not there, or does not pass without a bug, cannot notice one
const unfit = new Set()
for (const copy of new Set(wanted.map(([, place]) => copyOf(place)))) {
  const tests = new Set(wanted.flatMap(([, place, , , tests]) => copyOf(place) === copy ? tests : []))
  const report = `${copy}/report.json`
  vitest(copy, 600_000, "--reporter", "json", "--outputFile", "report.json", ...[...tests].map(filter))
  const results = existsSync(report) ? JSON.parse(readFileSync(report, "utf8")).testResults : []
  for (const test of tests) {
    const files = results.filter(({ name }) => name.includes(`${copy}/${filter(test)}`))
    if (files.length > 0 && files.every(({ status }) => status === "passed")) continue
    unfit.add(`${copy}/${filter(test)}`)
    const failed = files.flatMap(({ assertionResults, message }) => [
      message,
      ...assertionResults.filter(({ status }) => status === "failed").map(({ fullName }) => fullName)
    ])
    const why = files.length === 0 ? "there is none, or it did not end" : failed.filter(Boolean).join("; ")
    process.stdout.write(`UNFIT      ${copy}/${filter(test)} without a bug: ${why}\n`)
  }
}

let survived = 0
for (const [name, place, text, replacement, tests] of wanted) {
  const copy = copyOf(place)
  const file = place.replace("sql:", "")
  const path = `${copy}/src/${file}`
  const original = readFileSync(path, "utf8")
  const flaw = !original.includes(text)
    ? `GONE       ${name}: ${file} no longer has ${JSON.stringify(text)}`
    : tests.some((test) => unfit.has(`${copy}/${filter(test)}`))
    ? `UNFIT      ${name}`
    : undefined
  if (flaw !== undefined) {
    survived++
    process.stdout.write(`${flaw}\n`)
    continue
  }
  writeFileSync(path, original.replace(text, () => replacement))
  const status = vitest(copy, 120_000, "--bail", "1", ...tests.map(filter))
  writeFileSync(path, original)
  const outcome = status === null ? "TIMED OUT" : status === 0 ? "SURVIVED " : "killed   "
  if (outcome !== "killed   ") survived++
  process.stdout.write(`${outcome}  ${name}\n`)
}
process.stdout.write(`\nmutants: ${wanted.length - survived} killed, ${survived} survived\n`)
process.exit(survived === 0 ? 0 : 1)
