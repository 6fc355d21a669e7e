/** The engine's rows as records, pure. */
import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Rows from "../src/internal/rows.js"

const at = (millis: number) => String(BigInt(Rows.idAt(millis)))
const time = Date.UTC(2026, 0, 1)
const begun = { runId: "flow/k", key: "k", payload: "{}", version: "1", parent: null, deadlineAt: null }
const base = { entity_type: "Workflow/flow", deliver_at: null, reply_id: null, reply: null }
const run: Rows.RunRow = { ...base, id: at(time), tag: "run", payload: JSON.stringify(begun), cancelled: null }
const reply = (value: unknown) => JSON.stringify({ _tag: "Success", value })
const complete = (value: unknown) => reply({ _tag: "Complete", exit: { _tag: "Success", value } })
const activity = (name: string, offset: number, exit?: string): Rows.Row => ({
  ...base,
  id: at(time + offset),
  tag: "activity",
  payload: JSON.stringify({ name, attempt: 1 }),
  reply_id: exit === undefined ? null : at(time + offset + 1),
  reply: exit === undefined ? null : complete({ kind: "step", branch: "main", exit })
})
const deferred = (name: string, value: string): Rows.Row => ({
  ...base,
  id: at(time + 5),
  tag: "deferred",
  payload: JSON.stringify({ name, exit: { _tag: "Success", value } })
})

describe("the rows of a run", () => {
  it("are steps by their replies, with the times that are in the ids, and what was begun and has none", () => {
    const done = `{"_tag":"Success"}`
    const found = Rows.recordsOf("flow/k", [activity("b", 1, done), activity("a", 3, done), activity("c", 4), run])
    const { run: stored, started, steps } = Option.getOrThrow(found)
    assert.deepStrictEqual(
      steps.map(({ endedAt, name, seq, startedAt }) => [seq, name, startedAt - time, endedAt - time]),
      [
        [0, "b", 1, 2],
        [1, "a", 3, 4]
      ]
    )
    assert.deepStrictEqual(started.map(({ kind, name }) => [kind, name]), [["step", "c"]])
    assert.deepStrictEqual([stored.status, stored.createdAt], ["running", time])
  })

  it("are a clock's wait, but for one without an end, and what was sent", () => {
    const clock = (name: string, deliver_at: string): Rows.Row => ({
      ...base,
      id: at(time + 1),
      entity_type: Rows.clockType,
      tag: "run",
      payload: JSON.stringify({ name }),
      deliver_at
    })
    const sent = JSON.stringify({ payload: "1", sender: "x", sentAt: 7 })
    const found = Rows.recordsOf("flow/k", [
      run,
      clock("sleep/nap", String(time + 60_000)),
      clock("signal/go", String(9e15)),
      clock("deadline", String(time + 1)),
      deferred("signal/go", sent),
      deferred("signal/late", JSON.stringify({ expired: true })),
      deferred("cancel", "enough")
    ])
    const { run: stored, signals, started } = Option.getOrThrow(found)
    assert.deepStrictEqual(started.map(({ name, wakeAt }) => [name, Option.getOrNull(wakeAt)]), [
      ["nap", time + 60_000],
      ["go", null]
    ])
    assert.deepStrictEqual(signals, [{ runId: "flow/k", name: "go", payload: "1", sentAt: 7 }])
    assert.deepStrictEqual(stored.cancelled, Option.some("enough"))
  })

  it("tell an end from a stop and from a suspension", () => {
    const ended = { status: "failed", exit: `{"_tag":"Failure"}` }
    assert.deepStrictEqual(Rows.replyOf(complete(ended)), {
      ended: Option.some(ended as never),
      stopped: Option.none()
    })
    const stopped = reply({ _tag: "Suspended", cause: { _tag: "Die", defect: { name: "E", message: "why" } } })
    assert.deepStrictEqual(Rows.replyOf(stopped).stopped, Option.some("why"))
    for (const open of [null, reply({ _tag: "Suspended" })]) {
      assert.deepStrictEqual(Rows.replyOf(open), { ended: Option.none(), stopped: Option.none() })
    }
    assert.isTrue(Option.isSome(Rows.replyOf(`{"_tag":"Failure","cause":{"_tag":"Die","defect":"x"}}`).stopped))
  })

  it("have ids in the order of time", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.integer({ min: time, max: time + 1e11 }),
      FastCheck.integer({ min: 1, max: 1e9 }),
      (millis, later) =>
        Rows.timeOf(Rows.idAt(millis)) === millis && BigInt(Rows.idAt(millis)) < BigInt(Rows.idAt(millis + later))
    ))
  })
})
