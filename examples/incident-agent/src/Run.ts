/**
 * `run`: one incident, from its JSON to an exit code.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as ConfigError from "effect/ConfigError"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { type Escalated, HandleIncident } from "./Agent.js"
import "./AgentEvents.js"
import * as Incident from "./Incident.js"
import * as Live from "./Live.js"
import { Paging } from "./Paging.js"
import * as Reporter from "./Reporter.js"
import * as SandboxProcess from "./SandboxProcess.js"

/**
 * What the command line says.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly incident: string | undefined
  readonly dataDir: string
  readonly vendors: string | undefined
  readonly orchestrator: "kubernetes" | "ecs"
  readonly json: boolean
}

/**
 * How the process ends: its exit code, and what the last line of `--json` says. `error` is the tag of what it failed with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ending {
  readonly outcome: "resolved" | "escalated" | "bad-input" | "in-progress" | "failed" | "interrupted"
  readonly exitCode: number
  readonly incident?: string
  readonly reason?: string
  readonly error?: string
}

/**
 * Runs the incident and ends the process: 0 resolved, 1 failed, 2 bad input, 3 escalated; 130 or 143 if SIGINT or
 * SIGTERM came before it had ended.
 *
 * @since 0.1.0
 * @category running
 */
export const main = (options: Options): void => {
  let signal: number | undefined
  let ended: Ending | undefined
  process.once("SIGINT", () => signal = 130).once("SIGTERM", () => signal = 143)
  const endingOf = (exit: Exit.Exit<unknown, unknown>): Ending =>
    ended ?? (signal === undefined
      ? {
        outcome: "failed",
        exitCode: 1,
        reason: Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "no outcome"
      }
      : { outcome: "interrupted", exitCode: signal, reason: "start again to go on where it was" })
  const running = program(options, (ending) => ended = ending)
  NodeRuntime.runMain(options.json ? Effect.onExit(running, (exit) => last(endingOf(exit))) : running, {
    disableErrorReporting: true,
    teardown: (exit, onExit) => {
      const { exitCode, outcome } = endingOf(exit)
      if (outcome === "interrupted") process.stderr.write("⏸ interrupted; start again to go on where it was\n")
      onExit(exitCode)
    }
  })
}

/**
 * Handles the incident with whatever services are provided. `onEnd` hears how it has ended as soon as that is known: what
 * is left to do then may be interrupted.
 *
 * @since 0.1.0
 * @category running
 */
export const handle = (incident: Incident.Incident, onEnd: (ending: Ending) => void) => {
  const id = incident.incident_id
  // side by side: a PagerDuty that is down must not hold up the incident
  return Effect.all([
    HandleIncident.run(incident).pipe(
      Effect.as<Ending>({ outcome: "resolved", exitCode: 0, incident: id }),
      Effect.catchTag(
        "Escalated",
        ({ reason }) => Effect.succeed<Ending>({ outcome: "escalated", exitCode: 3, incident: id, reason })
      ),
      Effect.tap((ending) => Effect.sync(() => onEnd(ending)))
    ),
    deliver
  ], { concurrency: 2, discard: true })
}

/**
 * Sends what an earlier run could not send; what still cannot be sent stays in the spool.
 *
 * @since 0.1.0
 * @category running
 */
export const deliver = Effect.flatMap(Paging, (paging) => Effect.ignore(paging.deliver))

/**
 * The incident as it became known first, if its id is known: another description or severity is the same incident,
 * another service is bad input.
 *
 * @since 0.1.0
 * @category running
 */
export const identify = (incident: Incident.Incident) =>
  Effect.gen(function*() {
    const found = yield* Checkpoint.load(HandleIncident.runId(incident))
    if (found._tag === "None") return incident
    const known = yield* Effect.orDie(decodeStored(found.value.run.payload))
    if (known.service === incident.service) return known
    return yield* new Incident.BadIncident({
      message: `${incident.incident_id} is known with service ${known.service}, not ${incident.service}`
    })
  })

/**
 * Says how an incident ended that has ended before; none if it has not.
 *
 * @since 0.1.0
 * @category running
 */
export const recall = (incident: Incident.Incident) =>
  Effect.gen(function*() {
    const known = yield* HandleIncident.outcome(incident)
    if (known._tag === "None") return undefined
    const exit = known.value
    const [outcome, detail] = Exit.isSuccess(exit)
      ? ["resolved", exit.value.actions.join(", ")] as const
      : ["escalated", exit.cause._tag === "Fail" ? reasonOf(exit.cause.error) : "failed"] as const
    yield* Events.publish({ _tag: "IncidentKnown", incident: incident.incident_id, outcome, detail })
    const ending: Ending = outcome === "resolved"
      ? { outcome, exitCode: 0, incident: incident.incident_id }
      : { outcome, exitCode: 3, incident: incident.incident_id, reason: detail }
    return ending
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const reasonOf = (error: Escalated | Checkpoint.RunEnded): string => "reason" in error ? error.reason : error.message

const decodeStored = Schema.decode(Schema.parseJson(Incident.Incident))

/** Runs to its end, whatever that is, and tells it to `onEnd`. */
const program = (options: Options, onEnd: (ending: Ending) => void) => {
  const fail = (message: string, ending: Ending) =>
    Effect.sync(() => {
      process.stderr.write(`firebreak: ${message}\n`)
      onEnd({ ...ending, reason: message })
    })
  return Effect.gen(function*() {
    const given = yield* read(options.incident)
    // before anything is written
    yield* Live.patience
    yield* makeDirectory(options.dataDir)
    const sink = options.json ? EventSink.layerJson : Reporter.layer({ colour: colourful })
    yield* Effect.gen(function*() {
      const incident = yield* identify(given)
      const before = yield* recall(incident)
      if (before !== undefined) {
        onEnd(before)
        // with a sandbox of its own there is nobody to page
        if (options.vendors !== undefined) {
          yield* Effect.provide(deliver, Live.layerPaging({ ...options, vendors: options.vendors }))
        }
        return
      }
      const vendors = options.vendors ?? (yield* SandboxProcess.start(options.dataDir))
      yield* Effect.provide(handle(incident, onEnd), Live.layer({ ...options, vendors }))
    }).pipe(
      Effect.provide(Live.layerStore(options.dataDir).pipe(Layer.provideMerge(sink), Layer.provideMerge(Events.layer)))
    )
  }).pipe(
    Effect.scoped,
    Effect.catchAll((error) =>
      ConfigError.isConfigError(error)
        ? fail(error._op === "InvalidData" ? error.message : String(error), { outcome: "bad-input", exitCode: 2 })
        : error._tag === "BadIncident"
        ? fail(error.message, { outcome: "bad-input", exitCode: 2 })
        : error._tag === "RunInProgress"
        ? fail(inProgress(error), { outcome: "in-progress", exitCode: 1 })
        : fail(error.message, { outcome: "failed", exitCode: 1, error: error._tag })
    ),
    Effect.catchAllDefect((defect) =>
      fail(
        defect instanceof Error ? defect.message : String(defect),
        {
          outcome: "failed",
          exitCode: 1,
          error: Predicate.hasProperty(defect, "_tag") ? String(defect._tag) : "Defect"
        }
      )
    )
  )
}

/** The last line of `--json`, in the shape of an event. */
const last = (ending: Ending) =>
  Effect.flatMap(Clock.currentTimeMillis, (at) => Console.log(JSON.stringify({ _tag: "AgentExited", ...ending, at })))

const makeDirectory = (path: string) =>
  Effect.tryPromise({
    try: () => makeWithParents(Path.resolve(path)),
    catch: (error) =>
      new Incident.BadIncident({
        message: (error as NodeJS.ErrnoException).code === "EEXIST"
          ? `--data-dir must be a directory; ${path} is a file`
          : `--data-dir cannot be used: ${(error as Error).message}`
      })
  })

/** One after the other: with `recursive`, Node's `mkdir` never returns below `/proc`. */
const makeWithParents = async (path: string): Promise<void> => {
  const made = await makeOne(path)
  if (made !== "no parent") return
  await makeWithParents(Path.dirname(path))
  if (await makeOne(path) === "no parent") throw new Error(`nothing can be made in ${Path.dirname(path)}`)
}

const makeOne = async (path: string): Promise<"made" | "there" | "no parent"> => {
  try {
    await Fs.mkdir(path)
    return "made"
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT") return "no parent"
    if (code === "EEXIST" && (await Fs.stat(path)).isDirectory()) return "there"
    throw error
  }
}

const inProgress = ({ retryAfter, runId }: Checkpoint.RunInProgress) =>
  `another process is handling ${runId.slice(runId.indexOf("/") + 1)} (its claim lasts ${
    Math.ceil(Duration.toSeconds(retryAfter))
  } s more)`

const colourful = process.stdout.isTTY && !process.env["NO_COLOR"]

const read = (source: string | undefined): Effect.Effect<Incident.Incident, Incident.BadIncident> => {
  if (source === undefined) return Effect.succeed(Incident.chapter)
  return Effect.tryPromise({
    try: () => source === "-" ? readSome(process.stdin) : readFile(source),
    catch: (error) => new Incident.BadIncident({ message: `--incident cannot be read: ${(error as Error).message}` })
  }).pipe(Effect.flatMap(Incident.parseBytes))
}

const readFile = async (path: string): Promise<Buffer> => {
  const file = await Fs.open(path)
  try {
    return await readSome(file.createReadStream({ end: Incident.maxBytes }))
  } finally {
    await file.close()
  }
}

/** Reads no more than it takes to know that the input is too large. */
const readSome = async (stream: AsyncIterable<Buffer | string>): Promise<Buffer> => {
  const chunks: Array<Buffer> = []
  let size = 0
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk))
    size += chunks.at(-1)!.length
    if (size > Incident.maxBytes) break
  }
  return Buffer.concat(chunks)
}
