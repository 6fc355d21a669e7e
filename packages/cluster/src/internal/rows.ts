/** The engine's rows as the records of a run, pure. Ids tell when a message or a reply was made. */
import * as MachineId from "@effect/cluster/MachineId"
import * as Snowflake from "@effect/cluster/Snowflake"
import type * as Store from "@firebreak/core/CheckpointStore"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Deferreds, Head, Records } from "./journal.js"
import * as Model from "./model.js"

/** A message with the reply to it, if there is one. */
export interface Row {
  readonly id: string
  readonly entity_type: string
  readonly tag: string
  readonly payload: string
  readonly deliver_at: string | null
  readonly reply_id: string | null
  readonly reply: string | null
}

export interface RunRow extends Row {
  /** The message that asks it to stop. */
  readonly cancelled: string | null
}

/** A head knows the message that began the run. */
export interface SqlHead extends Head {
  readonly id: string
}

const json = Schema.parseJson
const decode = <A, I>(schema: Schema.Schema<A, I>) => Schema.decodeUnknownOption(json(schema))

const Begun = decode(Model.Begun)
const Named = decode(Schema.Struct({ name: Schema.String }))
const Offered = decode(Schema.Struct({
  name: Schema.String,
  exit: Schema.TaggedStruct("Success", { value: Schema.optional(Schema.Unknown) })
}))
const completed = <A, I>(value: Schema.Schema<A, I>) =>
  decode(Schema.Struct({
    value: Schema.TaggedStruct("Complete", { exit: Schema.TaggedStruct("Success", { value }) })
  }))
const Ended = completed(Model.Ended)
const Recorded = completed(Model.Recorded)
const Suspended = decode(Schema.Struct({
  value: Schema.TaggedStruct("Suspended", {
    cause: Schema.optional(Schema.Struct({ defect: Schema.Struct({ message: Schema.String }) }))
  })
}))

/** The time in an id, wall-clock milliseconds. */
export const timeOf = (id: string): number => Snowflake.timestamp(Snowflake.Snowflake(id))

/** The least id of that time. */
export const idAt = (millis: number): string =>
  String(
    Snowflake.make({
      timestamp: Math.max(millis, Snowflake.constEpochMillis),
      machineId: MachineId.make(0),
      sequence: 0
    })
  )

/** How a run stands by the reply to it: ended, stopped with a reason, or neither. */
export const replyOf = (
  reply: string | null
): { readonly ended: Option.Option<Model.Ended>; readonly stopped: Option.Option<string> } => {
  if (reply === null) return { ended: Option.none(), stopped: Option.none() }
  const ended = Option.map(Ended(reply), (_) => _.value.exit.value)
  if (Option.isSome(ended)) return { ended, stopped: Option.none() }
  const stopped = Option.match(Suspended(reply), {
    // the engine itself could not go on
    onNone: () => Option.some(reply),
    onSome: ({ value }) => Option.map(Option.fromNullable(value.cause), ({ defect }) => defect.message)
  })
  return { ended, stopped }
}

const deferredOf = (payload: string): Option.Option<readonly [name: string, value: string]> =>
  Option.map(Offered(payload), ({ exit, name }) => [name, typeof exit.value === "string" ? exit.value : ""] as const)

/** What a message that asks a run to stop gives as the reason. */
export const reasonOf = (payload: string): string | undefined =>
  Option.getOrUndefined(Option.map(deferredOf(payload), ([, reason]) => reason))

export const headOf = (row: RunRow): Option.Option<SqlHead> =>
  Option.map(Begun(row.payload), ({ deadlineAt, key, parent, payload, runId, version }) => {
    const { ended, stopped } = replyOf(row.reply)
    const endedAt = row.reply_id === null ? Option.none() : Option.some(timeOf(row.reply_id))
    const createdAt = timeOf(row.id)
    const run: Store.Run = {
      runId,
      workflow: Model.nameOf(runId),
      version,
      key,
      payload,
      parent: Option.fromNullable(parent),
      status: Option.match(ended, { onNone: () => "running" as const, onSome: (_) => _.status }),
      exit: Option.map(ended, (_) => _.exit),
      recoveries: 0,
      stalls: 0,
      deadlineAt: Option.fromNullable(deadlineAt),
      cancelled: Option.fromNullable(row.cancelled === null ? undefined : reasonOf(row.cancelled)),
      createdAt,
      updatedAt: Option.getOrElse(endedAt, () => createdAt),
      completedAt: Option.zipRight(ended, endedAt)
    }
    return { id: row.id, run, stopped }
  })

export const deferredsOf = (rows: ReadonlyArray<Pick<Row, "tag" | "payload">>): Deferreds =>
  new Map(rows.flatMap(({ payload, tag }) => tag === "deferred" ? Option.toArray(deferredOf(payload)) : []))

/** All that is recorded of a run, from its rows by the order of their replies. */
export const recordsOf = (runId: string, rows: ReadonlyArray<Row>): Option.Option<Records & SqlHead> => {
  const run = rows.find(({ tag, entity_type }) => tag === "run" && entity_type !== clockType)
  if (run === undefined) return Option.none()
  const steps: Array<Store.Step> = []
  const started: Array<Store.Started> = []
  for (const row of rows) {
    const name = Option.map(Named(row.payload), (_) => _.name)
    if (Option.isNone(name)) continue
    if (row.entity_type === clockType) {
      const [kind, ...rest] = name.value.split("/")
      if (kind !== "sleep" && kind !== "signal" && kind !== "child") continue
      started.push({
        runId,
        name: rest.join("/"),
        kind,
        branch: "main",
        startedAt: timeOf(row.id),
        wakeAt: Option.filter(Option.map(Option.fromNullable(row.deliver_at), Number), isInTime)
      })
    } else if (row.tag === "activity") {
      const recorded = row.reply === null ? Option.none() : Recorded(row.reply)
      if (Option.isSome(recorded) && row.reply_id !== null) {
        const { branch, exit, kind } = recorded.value.value.exit.value
        const [startedAt, endedAt] = [timeOf(row.id), timeOf(row.reply_id)]
        steps.push({
          runId,
          seq: steps.length,
          name: Model.stepName(name.value),
          kind,
          branch,
          exit,
          startedAt,
          endedAt
        })
      } else if (Model.stepName(name.value) === name.value) {
        const startedAt = timeOf(row.id)
        started.push({ runId, name: name.value, kind: "step", branch: "main", startedAt, wakeAt: Option.none() })
      }
    }
  }
  const deferreds = deferredsOf(rows)
  const cancelled = rows.find((row) => row.tag === "deferred" && deferredsOf([row]).has(Model.deferred.cancel))
  const ended = new Set(steps.map((step) => step.name))
  return Option.map(headOf({ ...run, cancelled: cancelled?.payload ?? null }), (head) => ({
    ...head,
    steps,
    started: started.filter(({ name }) => !ended.has(name)).toSorted((a, b) => a.startedAt - b.startedAt),
    signals: Model.signalsOf(runId, deferreds),
    deferreds
  }))
}

/** Whether a clock ever rings. */
const isInTime = (time: number): boolean => time < Duration.toMillis(Model.forever)

/** Where the engine keeps its clocks. */
export const clockType = "Workflow/-/DurableClock"
