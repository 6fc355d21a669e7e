/**
 * The protocol of leases and fencing as a model that is searched to its end: every order in which owners of one key ask,
 * claim, run, stand still past their lease, write late, crash and come back. The decisions are the real ones of
 * `IdempotencyState`; the store around them and the steps of an owner (`internal/action`) are written down here.
 *
 * Time is a number of ticks that every lease loses at once. Tokens are kept as ranks, for only their order matters, so
 * the number of states is finite.
 */
import { assert, describe, it } from "@effect/vitest"
import * as State from "../src/IdempotencyState.js"

interface Record_ {
  readonly state: State.Known["state"]
  readonly token: number
  readonly left: number
  readonly outcome: string
}

/** What one process is doing for its caller. */
type Owner =
  | { readonly at: "waiting" }
  /** It has asked for the claim, and counts its lease from then. */
  | { readonly at: "asking"; readonly left: number }
  | {
    readonly at: "deciding" | "running" | "probing"
    readonly token: number
    readonly left: number
    readonly inDoubt: boolean
    readonly started: boolean
    /** Whether its run has taken effect. */
    readonly acted: boolean
    readonly state: State.State
    readonly decision: State.Decision
    readonly outcome: string
  }
  /** It is about to write how it ended, which may be late. */
  | { readonly at: "recording"; readonly token: number; readonly outcome: string }
  | { readonly at: "releasing"; readonly token: number; readonly inDoubt: boolean; readonly answer: string }
  /** It found that its claim is lost. */
  | { readonly at: "losing"; readonly token: number; readonly inDoubt: boolean }
  | { readonly at: "answered"; readonly answer: string }
  | { readonly at: "dead" }

interface World {
  readonly record: Record_ | undefined
  readonly owners: ReadonlyArray<Owner>
  /** How often the effect took place, up to two; not counted where it may be repeated. */
  readonly effects: number
  /** The recorded outcomes, in their order. */
  readonly recorded: ReadonlyArray<string>
  readonly fault: string
}

interface Model {
  readonly owners: number
  /** How many ticks a lease lasts. */
  readonly lease: number
  readonly crashes: number
  readonly resolution: State.Resolution
  /** How a run may end. */
  readonly inputs: ReadonlyArray<State.Input>
  readonly owns: typeof State.owns
}

const everyInput: ReadonlyArray<State.Input> = [
  { _tag: "Succeeded" },
  { _tag: "Failed", classification: "failed" },
  { _tag: "Failed", classification: "unknown" },
  { _tag: "Failed", classification: "not-started" },
  { _tag: "Broke" }
]

/** Every world that may come next, and whether a crash led there. */
const next = (model: Model, world: World): ReadonlyArray<readonly [World, crash: boolean]> => {
  const { lease, owns, resolution } = model
  const worlds: Array<readonly [World, boolean]> = []
  const { record } = world
  const to = (i: number, owner: Owner, change: Partial<World> = {}, crash = false) =>
    worlds.push([{ ...world, ...change, owners: world.owners.with(i, owner) }, crash])
  const mine = (token: number) => owns(record === undefined ? undefined : record, token)
  const newest = (token: number) => record?.token === token

  worlds.push([
    {
      ...world,
      record: record && { ...record, left: Math.max(0, record.left - 1) },
      owners: world.owners.map((owner) => "left" in owner ? { ...owner, left: Math.max(0, owner.left - 1) } : owner)
    },
    false
  ])

  const dead = world.owners.filter(({ at }) => at === "dead").length
  world.owners.forEach((owner, i) => {
    if (owner.at === "answered" || owner.at === "dead") return
    if (dead < model.crashes) to(i, { at: "dead" }, {}, true)
    switch (owner.at) {
      case "waiting":
        return to(i, { at: "asking", left: lease })
      case "asking": {
        const known = record && { ...record, fingerprint: "f", held: record.left > 0 }
        const answer = State.claim(known, "f")
        if (answer === "completed") return to(i, { at: "answered", answer: record!.outcome })
        if (answer === "inProgress") return to(i, { at: "waiting" })
        if (answer === "reused") return
        const inDoubt = answer === "takeOver"
        const [state, decision] = State.start(resolution, inDoubt)
        const token = Math.max(record?.token ?? 0, ...world.owners.map((_) => "token" in _ ? _.token : 0)) + 1
        return to(i, {
          at: "deciding",
          token,
          left: owner.left,
          inDoubt,
          started: false,
          acted: false,
          state,
          decision,
          outcome: "none"
        }, { record: { state: "started", token, left: lease, outcome: "" } })
      }
      case "deciding":
      case "running":
      case "probing": {
        const doubt = owner.inDoubt || owner.started
        // the keeper renews, or finds that the claim is lost
        if (mine(owner.token)) to(i, { ...owner, left: lease }, { record: { ...record!, left: lease } })
        else to(i, { at: "losing", token: owner.token, inDoubt: doubt })
        if (owner.left === 0) to(i, { at: "losing", token: owner.token, inDoubt: doubt })
        const step = (input: State.Input, change: Partial<typeof owner> = {}) => {
          const [state, decision] = State.step(resolution, owner.state, input)
          to(i, { ...owner, ...change, at: "deciding", state, decision })
        }
        if (owner.at === "running") {
          if (!owner.acted) {
            to(i, { ...owner, acted: true }, { effects: resolution === "retry" ? 0 : Math.min(2, world.effects + 1) })
          }
          for (const input of model.inputs) {
            const failed = input._tag === "Failed" && input.classification !== "unknown"
            if (input._tag === "Succeeded" ? !owner.acted : failed && owner.acted) continue
            step(input, { outcome: input._tag === "Succeeded" ? `success ${i}` : `failure ${i}` })
          }
          return
        }
        if (owner.at === "probing") {
          if (world.effects > 0) step({ _tag: "Found" }, { outcome: "found" })
          else step({ _tag: "Absent" })
          return step({ _tag: "ProbeFailed" })
        }
        switch (owner.decision._tag) {
          case "Run":
            // who stood still past its lease does not start
            return owner.left === 0 ? undefined : to(i, { ...owner, at: "running", started: true })
          case "Probe":
            return to(i, { ...owner, at: "probing" })
          case "Record":
            return to(i, { at: "recording", token: owner.token, outcome: owner.outcome })
          case "Release":
            return to(i, { at: "releasing", token: owner.token, inDoubt: owner.decision.inDoubt, answer: "no outcome" })
        }
      }
      case "recording":
        if (!mine(owner.token)) return to(i, { at: "waiting" })
        return to(i, { at: "answered", answer: owner.outcome }, {
          record: { ...record!, state: "completed", left: 0, outcome: owner.outcome },
          recorded: [...world.recorded, owner.outcome],
          fault: newest(owner.token) ? world.fault : "recorded by an owner that was taken over"
        })
      case "releasing":
      case "losing": {
        const after: Owner = owner.at === "losing" ? { at: "waiting" } : { at: "answered", answer: owner.answer }
        if (!mine(owner.token)) return to(i, after)
        return to(i, after, {
          record: owner.inDoubt ? { ...record!, state: "in-doubt", left: 0 } : undefined,
          fault: newest(owner.token) ? world.fault : "released by an owner that was taken over"
        })
      }
    }
  })
  return worlds
}

/** What is wrong with a world, if anything. */
const faultOf = (model: Model, world: World): string => {
  if (world.fault !== "") return world.fault
  if (world.recorded.length > 1) return "two outcomes recorded"
  if (model.resolution === "escalate" && world.effects > 1) return "escalated, and yet it took effect twice"
  const answers = world.owners.flatMap((owner) => owner.at === "answered" ? [owner.answer] : [])
  const wrong = answers.find((answer) => answer !== "no outcome" && answer !== world.recorded[0])
  return wrong === undefined ? "" : `answered "${wrong}", which is not what was recorded`
}

/** The world by one text, with tokens as ranks. A record that is there keeps its token; who released one keeps none. */
const textOf = (world: World): string => {
  const tokens = [world.record?.token ?? 0, ...world.owners.map((_) => "token" in _ ? _.token : 0)]
  const ranks = [...new Set(tokens)].toSorted((a, b) => a - b)
  const rank = (token: number) => ranks.indexOf(token)
  return JSON.stringify([
    world.record && { ...world.record, token: rank(world.record.token) },
    world.owners.map((_) => "token" in _ ? { ..._, token: rank(_.token) } : _),
    world.effects,
    world.recorded,
    world.fault
  ])
}

interface Found {
  readonly states: number
  readonly steps: number
  /** What is wrong, with the number of steps that led there. */
  readonly faults: ReadonlyMap<string, number>
  /** States from which some live caller cannot get an answer any more. */
  readonly stuck: number
}

/** Goes through all states, breadth first; with `first`, only until a fault is found. */
const search = (model: Model, first = false): Found => {
  const start: World = {
    record: undefined,
    owners: Array.from({ length: model.owners }, () => ({ at: "waiting" })),
    effects: 0,
    recorded: [],
    fault: ""
  }
  const numbers = new Map([[textOf(start), 0]])
  const worlds = [start]
  const depths = [0]
  const before: Array<Array<number>> = [[]]
  const faults = new Map<string, number>()
  let steps = 0
  for (let n = 0; n < worlds.length; n++) {
    const world = worlds[n]!
    const fault = faultOf(model, world)
    if (fault !== "") {
      if (!faults.has(fault)) faults.set(fault, depths[n]!)
      if (first) break
      continue
    }
    for (const [world_, crash] of next(model, world)) {
      steps++
      const text = textOf(world_)
      let number = numbers.get(text)
      if (number === undefined) {
        numbers.set(text, number = worlds.length)
        worlds.push(world_)
        depths.push(depths[n]! + 1)
        before.push([])
      }
      // a caller is not helped by a crash
      if (!crash) before[number]!.push(n)
    }
  }

  const helped = new Uint8Array(worlds.length)
  const queue = worlds.flatMap(({ owners }, n) =>
    owners.every(({ at }) => at === "answered" || at === "dead") ? [n] : []
  )
  for (const n of queue) helped[n] = 1
  for (let n = queue.pop(); n !== undefined; n = queue.pop()) {
    for (const m of before[n]!) {
      if (helped[m] === 1) continue
      helped[m] = 1
      queue.push(m)
    }
  }
  return { states: worlds.length, steps, faults, stuck: first ? 0 : helped.filter((_) => _ === 0).length }
}

const two: Omit<Model, "resolution"> = { owners: 2, lease: 2, crashes: 1, inputs: everyInput, owns: State.owns }
const three: Omit<Model, "resolution"> = { ...two, owners: 3, lease: 1, inputs: [{ _tag: "Succeeded" }] }

describe("the protocol of leases and fencing, searched to its end", () => {
  for (
    const [what, model] of [
      ["two owners, every way to end, probe", { ...two, resolution: "probe" }],
      ["two owners, every way to end, retry", { ...two, resolution: "retry" }],
      ["two owners, every way to end, escalate", { ...two, resolution: "escalate" }],
      ["three owners, retry", { ...three, resolution: "retry" }],
      ["three owners, escalate", { ...three, resolution: "escalate" }]
    ] as const
  ) {
    it(`${what}: one outcome, none by who was taken over, and an answer for everyone`, () => {
      const found = search(model)
      process.stdout.write(`protocol, ${what}: ${found.states} states, ${found.steps} steps\n`)
      assert.deepStrictEqual([...found.faults], [])
      assert.strictEqual(found.stuck, 0)
      assert.isAbove(found.states, 1_000)
    }, 60_000)
  }

  it("finds what goes wrong without fencing", () => {
    const unfenced: typeof State.owns = (known) => known !== undefined && known.state === "started"
    for (const resolution of ["retry", "probe", "escalate"] as const) {
      const { faults } = search(
        { owners: 2, lease: 2, crashes: 0, inputs: everyInput, resolution, owns: unfenced },
        true
      )
      assert.isAbove(faults.size, 0)
    }
  })

  it("finds what goes wrong where a completed key is written again", () => {
    const careless: typeof State.owns = (known, token) => known?.token === token || known?.state === "completed"
    const { faults } = search({
      owners: 2,
      lease: 2,
      crashes: 0,
      inputs: everyInput,
      resolution: "retry",
      owns: careless
    }, true)
    assert.isAbove(faults.size, 0)
  })
})
