import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as History from "../src/CheckpointHistory.js"
import type { Step } from "../src/CheckpointStore.js"
import { modelRuns, same } from "./support/runs.js"

const record = (seq: number, name: string, branch: Step["branch"] = "main"): Step => ({
  runId: "run",
  seq,
  name,
  kind: "step",
  branch,
  exit: "{}",
  startedAt: 0,
  endedAt: 0
})

/** A call in the program's code. */
interface Code {
  readonly name: string
  readonly branch: Step["branch"]
}

/** Calls everything in order; what is executed is appended to the record. Ends at the first refusal. */
const attempt = (recorded: ReadonlyArray<Step>, code: ReadonlyArray<Code>) => {
  let history = History.make(recorded)
  const after = [...recorded]
  const executed: Array<string> = []
  for (const { branch, name } of code) {
    const [next, decision] = History.call(history, { kind: "step", name, branch, settled: false })
    history = next
    if (decision._tag === "Mismatch" || decision._tag === "Duplicate") return { after, executed, refusal: decision }
    if (decision._tag === "Execute") {
      executed.push(decision.name)
      after.push(record(after.length, decision.name, branch))
    }
  }
  return { after, executed, left: History.leftover(history, true) }
}

const main = (...names: ReadonlyArray<string>): ReadonlyArray<Code> => names.map((name) => ({ name, branch: "main" }))

describe("CheckpointHistory", () => {
  it("replays a main branch in its order and executes what comes after", () => {
    const recorded = [record(0, "a"), record(1, "b"), record(2, "a#2")]
    const { executed, left } = attempt(recorded, main("a", "b", "a", "c", "a"))
    assert.deepStrictEqual(executed, ["c", "a#3"])
    assert.isUndefined(left)
  })

  it("lets side branches replay in any order", () => {
    const recorded = [record(0, "a"), record(1, "y", "side"), record(2, "x", "side")]
    const side: ReadonlyArray<Code> = ["x", "y", "z"].map((name) => ({ name, branch: "side" }))
    const { executed, left } = attempt(recorded, [...main("a"), ...side, ...main("b")])
    assert.deepStrictEqual(executed, ["z", "b"])
    assert.isUndefined(left)
  })

  it("names a side step that was never called only once its branches must have called it", () => {
    const history = History.make([record(0, "x", "side")])
    assert.isUndefined(History.leftover(history, false))
    assert.strictEqual(History.leftover(history, true)?.name, "x")
    assert.strictEqual(
      History.call(history, { name: "new", kind: "step", branch: "main", settled: false })[1]._tag,
      "Execute"
    )
    assert.deepStrictEqual(History.call(history, { name: "new", kind: "step", branch: "main", settled: true })[1], {
      _tag: "Mismatch",
      called: "new",
      recorded: record(0, "x", "side")
    })
  })

  it("replays a step that moved into a branch or out of one, in its turn", () => {
    const recorded = [record(0, "a"), record(1, "b")]
    assert.isUndefined(attempt(recorded, [{ name: "a", branch: "side" }, ...main("b")]).refusal)
    assert.strictEqual(attempt(recorded, [{ name: "b", branch: "side" }]).refusal?._tag, "Mismatch")
    assert.isUndefined(attempt([record(0, "x", "side")], main("x")).refusal)
  })

  it("refuses a name twice where branches are concurrent", () => {
    for (const branches of [["side", "side"], ["main", "side"], ["side", "main"]] as const) {
      const code = branches.map((branch) => ({ name: "a", branch }))
      assert.deepStrictEqual(attempt([], code).refusal, { _tag: "Duplicate", name: "a" })
    }
  })

  it("gives a name back that ended without a record", () => {
    for (const branch of ["main", "side"] as const) {
      const [once] = History.call(History.make([]), { name: "a", kind: "step", branch, settled: false })
      const again = History.call(History.forget(once, "a"), { name: "a", kind: "step", branch, settled: false })[1]
      assert.deepStrictEqual(again, { _tag: "Execute", name: "a" })
    }
  })

  const names = FastCheck.array(FastCheck.constantFrom("a", "b", "c", "d"), { maxLength: 12 })
  const sides = FastCheck.uniqueArray(FastCheck.constantFrom("s", "t", "u", "v"), { maxLength: 4 })

  it.prop(
    "a program crashed at any points executes each of its steps once, and always goes through",
    { names, sides, at: FastCheck.nat(12), crashes: FastCheck.array(FastCheck.nat(16)) },
    ({ at, crashes, names, sides }) => {
      const code: ReadonlyArray<Code> = [
        ...main(...names.slice(0, at)),
        ...sides.map((name): Code => ({ name, branch: "side" })),
        ...main(...names.slice(at))
      ]
      let recorded: ReadonlyArray<Step> = []
      const all: Array<string> = []
      for (const crash of [...crashes, code.length]) {
        const { after, executed, refusal } = attempt(recorded, code.slice(0, crash))
        assert.isUndefined(refusal)
        recorded = after
        all.push(...executed)
      }
      assert.strictEqual(all.length, code.length)
      assert.strictEqual(new Set(all).size, code.length)
      assert.isUndefined(attempt(recorded, code).left)
    }
  )

  it.prop(
    "another program is refused before it executes anything, if a recorded step is not where it was",
    { before: names, after: names },
    ({ after, before }) => {
      const { after: recorded } = attempt([], main(...before))
      const { executed, left, refusal } = attempt(recorded, main(...after))
      const same = before.every((name, i) => after[i] === name)
      assert.strictEqual(refusal === undefined && left === undefined, same)
      if (!same) assert.deepStrictEqual(executed, [])
    }
  )

  // a crash may come between the beginning of a step and its record
  it.prop(
    "a step that was begun is resumed and not executed, whatever crashes, until it is recorded",
    {
      names,
      doubtful: FastCheck.array(FastCheck.boolean(), { maxLength: 12 }),
      crashes: FastCheck.array(FastCheck.record({ calls: FastCheck.nat(12), recorded: FastCheck.boolean() }))
    },
    ({ crashes, doubtful, names }) => {
      const kindOf = (i: number) => doubtful[i] === true ? "sleep" : "step"
      let recorded: ReadonlyArray<Step> = []
      const begun = new Set<string>()
      const executed: Array<string> = []
      for (const crash of [...crashes, { calls: names.length, recorded: true }]) {
        const started = Array.from(begun, (name) => ({ name, kind: "sleep", branch: "main" } as const))
        let history = History.make(recorded, started)
        const after = [...recorded]
        for (const [i, base] of names.slice(0, crash.calls).entries()) {
          const kind = kindOf(i)
          const [next, decision] = History.call(history, { name: base, kind, branch: "main", settled: true })
          history = next
          if (decision._tag === "Replay") continue
          if (decision._tag !== "Execute" && decision._tag !== "Resume") throw new Error(decision._tag)
          same(decision._tag === "Resume", begun.has(decision.name), `resumes ${decision.name}`)
          if (decision._tag === "Execute") executed.push(decision.name)
          if (kind === "sleep") {
            begun.add(decision.name)
            history = History.begin(history, decision.name, kind)
          }
          const isLast = i === crash.calls - 1
          if (isLast && !crash.recorded) break
          begun.delete(decision.name)
          after.push({ ...record(after.length, decision.name), kind })
        }
        recorded = after
      }
      same(recorded.length, names.length, "recorded steps")
      const sleeps = executed.filter((name) => recorded.some((step) => step.name === name && step.kind === "sleep"))
      same(new Set(sleeps).size, sleeps.length, "sleeps executed once")
    },
    modelRuns
  )

  it("names a step that was begun in an earlier attempt before another is executed, and at the end", () => {
    const started = [{ name: "charge", kind: "step", branch: "main" } as const]
    const history = History.make([record(0, "a")], started)
    const [replayed] = History.call(history, { name: "a", kind: "step", branch: "main", settled: true })
    const pending = { seq: 1, name: "charge", kind: "step", branch: "main" } as const
    assert.deepStrictEqual(History.call(replayed, { name: "pay", kind: "step", branch: "main", settled: true })[1], {
      _tag: "Mismatch",
      called: "pay",
      recorded: pending
    })
    assert.deepStrictEqual(History.leftover(replayed, true), pending)
    const [resumed, decision] = History.call(replayed, { name: "charge", kind: "step", branch: "main", settled: true })
    assert.deepStrictEqual(decision, { _tag: "Resume", name: "charge" })
    assert.isUndefined(History.leftover(resumed, true))
  })

  it("knows when all, or all before a step, have been replayed", () => {
    const history = History.make([record(0, "a", "side"), record(1, "b", "side")])
    assert.isFalse(History.isReplayed(history))
    assert.isTrue(History.isReplayed(history, 0))
    const [next] = History.call(history, { name: "a", kind: "step", branch: "side", settled: false })
    assert.isTrue(History.isReplayed(next, 1))
    assert.isFalse(History.isReplayed(next))
  })
})
