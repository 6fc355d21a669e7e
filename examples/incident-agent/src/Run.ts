/**
 * `run`: one incident, from its JSON to an exit code.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Checkpoint from "@firebreak/core/Checkpoint"
import * as Events from "@firebreak/core/Events"
import * as EventSink from "@firebreak/core/EventSink"
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import { HandleIncident } from "./Agent.js"
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
 * Runs the incident and ends the process: 0 resolved, 1 failed, 2 bad input, 3 escalated; 130 or 143 if SIGINT or
 * SIGTERM came before it had ended.
 *
 * @since 0.1.0
 * @category running
 */
export const main = (options: Options): void => {
  let interrupted = 1
  let ended: number | undefined
  process.once("SIGINT", () => interrupted = 130).once("SIGTERM", () => interrupted = 143)
  NodeRuntime.runMain(program(options, (code) => ended = code), {
    disableErrorReporting: true,
    teardown: (exit, onExit) => {
      if (Exit.isSuccess(exit)) return onExit(Number(exit.value))
      if (ended !== undefined) return onExit(ended)
      if (interrupted !== 1) process.stderr.write("⏸ interrupted; start again to go on where it was\n")
      onExit(interrupted)
    }
  })
}

/**
 * Handles the incident with whatever services are provided; the exit code it deserves, which `onEnd` hears as soon as it
 * is known: what is left to do then may be interrupted.
 *
 * @since 0.1.0
 * @category running
 */
export const handle = (incident: Incident.Incident, onEnd: (code: number) => void = () => {}) =>
  Effect.gen(function*() {
    // side by side: a PagerDuty that is down must not hold up the incident
    const [code] = yield* Effect.all([
      HandleIncident.run(incident).pipe(
        Effect.as(0),
        Effect.catchTag("Escalated", () => Effect.succeed(3)),
        Effect.tap((code) => Effect.sync(() => onEnd(code)))
      ),
      deliver
    ], { concurrency: 2 })
    return code
  })

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
 * Says how an incident ended that has ended before; the exit code it deserved then, or none if it has not ended.
 *
 * @since 0.1.0
 * @category running
 */
export const recall = (incident: Incident.Incident) =>
  Effect.gen(function*() {
    const known = yield* HandleIncident.outcome(incident)
    if (known._tag === "None") return undefined
    const outcome = known.value
    const [result, detail, code] = Exit.isSuccess(outcome)
      ? ["resolved", outcome.value.actions.join(", "), 0] as const
      : ["escalated", outcome.cause._tag === "Fail" ? outcome.cause.error.reason : "failed", 3] as const
    yield* Events.publish({ _tag: "IncidentKnown", incident: incident.incident_id, outcome: result, detail })
    return code
  })

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const decodeStored = Schema.decode(Schema.parseJson(Incident.Incident))

const program = (options: Options, onEnd: (code: number) => void) =>
  Effect.gen(function*() {
    const given = yield* read(options.incident)
    // before anything is written
    yield* Live.patience
    yield* makeDirectory(options.dataDir)
    const sink = options.json ? EventSink.layerJson : Reporter.layer({ colour: colourful })
    return yield* Effect.gen(function*() {
      const incident = yield* identify(given)
      const before = yield* recall(incident)
      if (before !== undefined) {
        onEnd(before)
        // with a sandbox of its own there is nobody to page
        if (options.vendors !== undefined) {
          yield* Effect.provide(deliver, Live.layerPaging({ ...options, vendors: options.vendors }))
        }
        return before
      }
      const vendors = options.vendors ?? (yield* SandboxProcess.start(options.dataDir))
      return yield* Effect.provide(handle(incident, onEnd), Live.layer({ ...options, vendors }))
    }).pipe(
      Effect.provide(Live.layerStore(options.dataDir).pipe(Layer.provideMerge(sink), Layer.provideMerge(Events.layer)))
    )
  }).pipe(
    Effect.scoped,
    Effect.catchAll((error) =>
      ConfigError.isConfigError(error)
        ? tell(error._op === "InvalidData" ? error.message : String(error), 2)
        : error._tag === "RunInProgress"
        ? tell(inProgress(error), 1)
        : tell(error.message, error._tag === "BadIncident" ? 2 : 1)
    ),
    Effect.catchAllDefect((defect) => tell(defect instanceof Error ? defect.message : String(defect), 1))
  )

const makeDirectory = (path: string) =>
  Effect.tryPromise({
    try: () => Fs.mkdir(path, { recursive: true }),
    catch: (error) =>
      new Incident.BadIncident({
        message: (error as NodeJS.ErrnoException).code === "EEXIST"
          ? `--data-dir must be a directory; ${path} is a file`
          : `--data-dir cannot be used: ${(error as Error).message}`
      })
  })

const inProgress = ({ retryAfter, runId }: Checkpoint.RunInProgress) =>
  `another process is handling ${runId.slice(runId.indexOf("/") + 1)} (its claim lasts ${
    Math.ceil(Duration.toSeconds(retryAfter))
  } s more)`

const tell = (message: string, code: number) =>
  Effect.sync(() => {
    process.stderr.write(`firebreak: ${message}\n`)
    return code
  })

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
