/**
 * The runs that this store holds: where the chain of each ends and what it has, so that a save is one statement. Another
 * owner can add to a run only with a newer token, and then our next save is refused. Where the answer to a write was
 * lost, what is in memory may be wrong, and is read again before the next one.
 */
import type * as CheckpointStore from "@firebreak/core/CheckpointStore"
import type { Started, Step } from "@firebreak/core/CheckpointStore"
import type { StoreError } from "@firebreak/core/StoreError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Chain from "../writer/chain.js"
import { isDataFault, type PostgresClient, type Query, statement } from "./PostgresClient.js"
import { parse, type ReadRow, type SignalRow, toSignals } from "./runRows.js"
import type * as Statements from "./runStatements.js"

/** What adds to the chain of a run. */
export type Write = Save | Expire | Finish | Commit

interface Save {
  readonly _tag: "Save"
  readonly token: number
  readonly step: Step
}

/** Saves the step unless a signal of its name was sent. */
interface Expire {
  readonly _tag: "Expire"
  readonly token: number
  readonly step: Step
}

/** Saves the step in the transaction that `query` is part of, and ends the transaction. */
interface Commit {
  readonly _tag: "Commit"
  readonly token: number
  readonly step: Step
  readonly query: Query
}

interface Finish {
  readonly _tag: "Finish"
  readonly token: number
  readonly runId: string
  readonly status: "succeeded" | "failed" | "cancelled"
  readonly exit: string
}

/** `Expired` is the answer to a write that was done. */
export type Written = CheckpointStore.Expiry

type Answers = Map<Write, Exit.Exit<Written, StoreError>>

export class OwnedRuns {
  private readonly runs = new Map<string, Owned>()

  constructor(
    private readonly client: PostgresClient,
    private readonly statements: ReturnType<typeof Statements.make>
  ) {}

  /** Token by run. */
  get held(): ReadonlyArray<readonly [runId: string, token: number]> {
    return Array.from(this.runs, ([runId, { token }]) => [runId, token] as const)
  }

  add(
    runId: string,
    token: number,
    hash: string,
    { started, steps }: Pick<CheckpointStore.Progress, "started" | "steps">
  ) {
    this.runs.set(runId, new Owned(token, hash, steps, started))
  }

  remove(runId: string, token: number): void {
    if (this.runs.get(runId)?.token === token) this.runs.delete(runId)
  }

  /** The run, if it is ours by this token. */
  get(runId: string, token: number): Owned | undefined {
    const run = this.runs.get(runId)
    return run?.token === token ? run : undefined
  }

  /**
   * Does a batch of writes: the steps in one statement, then the rest. Batches come one after the other, so that a
   * chain is never added to in two places. Each write has an answer of its own, so that none that was done is asked for
   * again.
   */
  write(writes: ReadonlyArray<Write>): Effect.Effect<ReadonlyArray<Exit.Exit<Written, StoreError>>> {
    const answers: Answers = new Map()
    const saves = writes.filter((write) => write._tag === "Save")
    const saved = together(saves, answers, (saves) => this.save(saves, answers))
    const written = saves.length === writes.length ? saved : Effect.gen(this, function*() {
      // these hold a connection that others may wait for
      for (const write of writes) {
        if (write._tag === "Commit") answers.set(write, yield* Effect.exit(this.commit(write)))
      }
      if (saves.length > 0) yield* saved
      for (const write of writes) {
        if (write._tag === "Expire") answers.set(write, yield* Effect.exit(this.expire(write)))
      }
      const ends = writes.filter((write) => write._tag === "Finish")
      if (ends.length > 0) yield* together(ends, answers, (ends) => this.finish(ends, answers))
    })
    return Effect.map(
      written,
      () => writes.map((write) => answers.get(write) ?? Exit.die(new Error("a write was not answered")))
    )
  }

  /** The run, if it is ours, with what is in memory right again. */
  private current(operation: string, runId: string, token: number): Effect.Effect<Owned | undefined, StoreError> {
    const run = this.get(runId, token)
    if (run === undefined || !run.uncertain) return Effect.succeed(run)
    return Effect.flatMap(this.client.query<ReadRow>(operation, this.statements.read, [runId]), ([row]) => {
      if (row === undefined || Number(row.token) !== token || row.owner === null) {
        this.remove(runId, token)
        return Effect.succeed(undefined)
      }
      return Effect.map(parse(this.client, operation, row), ({ hash, progress }) => {
        this.add(runId, token, hash, progress)
        return this.get(runId, token)
      })
    })
  }

  private save(writes: ReadonlyArray<Save>, answers: Answers): Effect.Effect<void, StoreError> {
    const uncertain = writes.filter(({ step, token }) => this.get(step.runId, token)?.uncertain === true)
    if (uncertain.length === 0) return this.send(writes, answers)
    return Effect.zipRight(
      Effect.forEach(uncertain, ({ step, token }) => this.current("save", step.runId, token), { discard: true }),
      Effect.suspend(() => this.send(writes, answers))
    )
  }

  /** Saves steps of runs of which it is certain what they have. */
  private send(writes: ReadonlyArray<Save>, answers: Answers): Effect.Effect<void, StoreError> {
    const { client, statements } = this
    const sent: Array<{ readonly write: Save; readonly run: Owned }> = []
    const columns: ReadonlyArray<Array<string | number>> = Array.from({ length: 11 }, () => [])
    let forgets = false
    for (const write of writes) {
      const { step, token } = write
      const run = this.get(step.runId, token)
      if (run === undefined || run.names.has(step.seq)) {
        answers.set(write, repeated(client, run, step))
        continue
      }
      const position = run.names.size
      const hash = run.append(step)
      if (run.started.delete(step.name)) forgets = true
      sent.push({ write, run })
      stepColumns(step, token, position, hash).forEach((value, i) => columns[i]?.push(value))
    }
    if (sent.length === 0) return Effect.void
    const [statement, parameters] = sent.length === 1 && !forgets
      ? [statements.saveOne, columns.flat()]
      : [forgets ? statements.saveStarted : statements.save, columns]
    return Effect.matchCauseEffect(client.query<SavedRow>("save", statement, parameters), {
      onFailure: (cause) => {
        // what was chained in memory may not be in the database
        for (const { run } of sent) run.uncertain = true
        return Effect.failCause(cause)
      },
      onSuccess: (rows) => {
        const there: Array<Save> = []
        for (const [i, { run, write }] of sent.entries()) {
          const row = rows[i]
          if (row?.owned !== true) {
            this.remove(write.step.runId, write.token)
            answers.set(write, lost)
          } else if (row.saved) {
            answers.set(write, done)
          } else {
            // it was there: written by a statement whose answer was lost
            run.uncertain = true
            there.push(write)
          }
        }
        return there.length === 0 ?
          Effect.void :
          Effect.forEach(there, (write) =>
            Effect.map(this.current("save", write.step.runId, write.token), (run) => {
              answers.set(write, repeated(client, run, write.step))
            }), { discard: true })
      }
    })
  }

  private expire({ step, token }: Expire): Effect.Effect<Written, StoreError> {
    const { client, statements } = this
    return Effect.gen(this, function*() {
      const run = yield* this.current("expire", step.runId, token)
      if (run === undefined || run.names.has(step.seq)) return yield* repeated(client, run, step)
      const hash = Chain.hashOfStep(run.head, step, null)
      const columns = stepColumns(step, token, run.names.size, hash).map((value) => [value])
      const write = client.transaction("expire", (query) =>
        Effect.gen(function*() {
          yield* query(statements.meet, [step.runId])
          const rows = yield* query<SignalRow>(statements.sent, [step.runId, step.name])
          const [sent] = yield* toSignals(client, "expire", rows)
          if (sent !== undefined) return { _tag: "Received", payload: sent.payload } as const
          const [row] = yield* query<SavedRow>(statements.saveStarted, columns)
          if (row?.owned !== true) return { _tag: "Lost" } as const
          return row.saved ? { _tag: "Expired" } as const : { _tag: "There" } as const
        }))
      const answer = yield* Effect.onError(write, () =>
        Effect.sync(() => {
          run.uncertain = true
        }))
      if (answer._tag === "There") {
        // an earlier attempt was committed and its answer lost
        run.uncertain = true
        return yield* repeated(client, yield* this.current("expire", step.runId, token), step)
      }
      if (answer._tag === "Expired") {
        run.append(step)
        run.started.delete(step.name)
      }
      return answer
    })
  }

  private commit({ query, step, token }: Commit): Effect.Effect<Written, StoreError> {
    const { client, statements } = this
    return Effect.gen(this, function*() {
      const run = yield* this.current("commit", step.runId, token)
      if (run === undefined) return { _tag: "Lost" }
      if (run.names.has(step.seq)) return yield* taken(client, step)
      const [open] = yield* client.once("commit", query<{ readonly mark: string | null }>(statements.mark, []))
      if (open?.mark !== String(token)) {
        const detail = "the transaction was ended by a statement in it; its step is not recorded"
        return yield* Effect.fail(client.error("commit", { reason: "io", detail }))
      }
      const hash = Chain.hashOfStep(run.head, step, null)
      const columns = stepColumns(step, token, run.names.size, hash).map((value) => [value])
      const [row] = yield* client.once("commit", query<SavedRow>(statements.saveStarted, columns))
      if (row?.owned !== true) return { _tag: "Lost" }
      if (!row.saved) {
        run.uncertain = true
        return yield* taken(client, step)
      }
      yield* Effect.onError(client.once("commit", query(commitStatement, [])), () =>
        Effect.sync(() => {
          run.uncertain = true
        }))
      run.append(step)
      run.started.delete(step.name)
      return { _tag: "Expired" }
    })
  }

  private finish(writes: ReadonlyArray<Finish>, answers: Answers): Effect.Effect<void, StoreError> {
    const { client, statements } = this
    return Effect.gen(this, function*() {
      const sent: Array<{ readonly write: Finish; readonly hash: string }> = []
      for (const write of writes) {
        const { exit, runId, status, token } = write
        const run = yield* this.current("finish", runId, token)
        if (run === undefined) {
          // the same outcome reported again, its first answer having been lost
          const ended = yield* client.query("finish", statements.endedBy, [runId, token])
          answers.set(write, ended.length > 0 ? done : lost)
        } else {
          sent.push({ write, hash: Chain.hashOfExit(run.head, status, exit, null) })
        }
      }
      if (sent.length === 0) return
      const columns = [
        sent.map((_) => _.write.runId),
        sent.map((_) => _.write.token),
        sent.map((_) => _.write.status),
        sent.map((_) => _.write.exit),
        sent.map((_) => _.hash)
      ]
      const rows = yield* sent.length === 1
        ? client.query<FinishedRow>("finish", statements.finishOne, columns.flat())
        : client.query<FinishedRow>("finish", statements.finish, columns)
      for (const [i, { write }] of sent.entries()) {
        this.remove(write.runId, write.token)
        answers.set(write, rows[i]?.ended === true ? done : lost)
      }
    })
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

/** One run in memory. */
class Owned {
  /** Whether a write failed that may yet have been done. */
  uncertain = false
  /** Names of the steps by `seq`. */
  readonly names: Map<number, string>
  /** Names of what was begun and has no outcome. */
  readonly started: Set<string>

  constructor(
    readonly token: number,
    private hash: string,
    steps: ReadonlyArray<Step>,
    started: ReadonlyArray<Started>
  ) {
    this.names = new Map(steps.map(({ name, seq }) => [seq, name]))
    this.started = new Set(started.map(({ name }) => name))
  }

  /** The hash of the last record. */
  get head(): string {
    return this.hash
  }

  /** Chains a step to those there are; the new head. */
  append(step: Step): string {
    this.names.set(step.seq, step.name)
    this.hash = Chain.hashOfStep(this.hash, step, null)
    return this.hash
  }
}

const commitStatement = statement("COMMIT")

interface FinishedRow {
  readonly ended: boolean
}

interface SavedRow {
  readonly owned: boolean
  readonly saved: boolean
}

const done: Exit.Exit<Written> = Exit.succeed({ _tag: "Expired" })
const lost: Exit.Exit<Written> = Exit.succeed({ _tag: "Lost" })

/** Does writes of one kind. Should the data of one be at fault, those without an answer are done again, each by itself. */
const together = <W extends Write>(
  writes: ReadonlyArray<W>,
  answers: Answers,
  write: (writes: ReadonlyArray<W>) => Effect.Effect<void, StoreError>
): Effect.Effect<void> =>
  Effect.catchAllCause(Effect.suspend(() => write(writes)), (cause) => {
    const open = writes.filter((write) => !answers.has(write))
    if (writes.length > 1 && isDataFault(cause)) {
      return Effect.forEach(open, (one) => together([one], answers, write), { discard: true })
    }
    return Effect.sync(() => open.forEach((one) => answers.set(one, Exit.failCause(cause))))
  })

/** The columns of a step, as the statements that save want them. */
const stepColumns = (
  step: Step,
  token: number,
  position: number,
  hash: string
): ReadonlyArray<string | number> => [
  step.runId,
  token,
  step.seq,
  step.name,
  step.kind,
  step.branch,
  step.exit,
  step.startedAt,
  step.endedAt,
  position,
  hash
]

/** The answer where a step is there already, or the run is not ours. */
const repeated = (client: PostgresClient, run: Owned | undefined, step: Step): Exit.Exit<Written, StoreError> => {
  const there = run?.names.get(step.seq)
  if (there === undefined) return lost
  if (there === step.name) return done
  const detail = `run "${step.runId}" has step "${there}" at seq ${step.seq}, not "${step.name}"`
  return Exit.fail(client.error("save", { reason: "io", detail }))
}

/** A transaction for a step that is recorded already: it must not be committed beside that. */
const taken = (client: PostgresClient, { runId, seq }: Step): Exit.Exit<never, StoreError> =>
  Exit.fail(client.error("commit", { reason: "io", detail: `run "${runId}" has a step at seq ${seq} already` }))
