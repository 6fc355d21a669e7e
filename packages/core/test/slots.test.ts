import { describe, expect, it } from "@effect/vitest"
import * as fc from "effect/FastCheck"
import { Line, Waiter } from "../src/internal/line.js"
import { Slots } from "../src/internal/slots.js"
import { modelRuns, same } from "./support/runs.js"

class Named extends Waiter {
  wakes = 0
  constructor(readonly id: number) {
    super()
  }
  override wake(): void {
    this.wakes++
  }
}

const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("call" as const) }) },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("end" as const), which: fc.nat(50) }) },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("abandon" as const), which: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("resize" as const), total: fc.integer({ min: 1, max: 5 }) }) }
)

describe("Slots", () => {
  it.prop("never run more than there are slots, start in order of arrival, and lose none", [
    fc.array(command, { maxLength: 80 }),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 0, max: 6 })
  ], ([commands, slotsAtFirst, places]) => {
    const slots = new Slots<Named>(slotsAtFirst, places)
    // the model: who runs and who waits, by number, in plain arrays
    let total = slotsAtFirst
    let running: Array<number> = []
    let waiting: Array<number> = []
    const waiters = new Map<number, Named>()
    // given a slot while in line, and not yet gone on: may still be interrupted
    const granted = new Set<number>()
    const fill = () => {
      while (running.length < total && waiting.length > 0) {
        const id = waiting.shift()!
        running.push(id)
        granted.add(id)
      }
    }
    let ids = 0
    for (const step of commands) {
      switch (step._tag) {
        case "call": {
          const id = ids++
          const started = slots.take()
          same(started, running.length < total, "started")
          if (started) running.push(id)
          else {
            const waiter = new Named(id)
            waiters.set(id, waiter)
            const joined = slots.join(waiter)
            same(joined, waiting.length < places, "joined the line")
            if (joined) waiting.push(id)
          }
          break
        }
        case "end": {
          if (running.length === 0) break
          const [id] = running.splice(step.which % running.length, 1)
          granted.delete(id!)
          slots.release()
          fill()
          break
        }
        case "abandon": {
          const candidates = [...waiting, ...granted]
          if (candidates.length === 0) break
          const id = candidates[step.which % candidates.length]!
          waiting = waiting.filter((other) => other !== id)
          running = running.filter((other) => other !== id)
          granted.delete(id)
          slots.abandon(waiters.get(id)!)
          fill()
          break
        }
        case "resize": {
          total = step.total
          slots.resize(total)
          fill()
        }
      }
      same(slots.running, running.length, "running")
      same(slots.line.size, waiting.length, "waiting")
      for (const id of waiting) same(waiters.get(id)!.wakes, 0, "wakes of who waits")
      for (const id of granted) same(waiters.get(id)!.wakes, 1, "wakes of who was given a slot")
    }
  }, modelRuns)
})

describe("Line", () => {
  it.prop(
    "keeps the order of arrival whoever leaves",
    [fc.array(fc.integer({ min: -1, max: 20 }), { maxLength: 60 })],
    (
      [commands]
    ) => {
      const line = new Line<Named>()
      const model: Array<Named> = []
      let ids = 0
      for (const which of commands) {
        if (which === -1 || model.length === 0) {
          const waiter = new Named(ids++)
          line.join(waiter)
          model.push(waiter)
        } else {
          const [gone] = model.splice(which % model.length, 1)
          same(line.leave(gone!), true, "was in the line")
          same(line.leave(gone!), false, "is in the line")
        }
        const order: Array<number> = []
        for (let at: Waiter | undefined = line.first; at !== undefined; at = at.next) order.push((at as Named).id)
        same(order.join(), model.map((waiter) => waiter.id).join(), "order")
        same(line.size, model.length, "size")
      }
      while (model.length > 0) same(line.shift(), model.shift(), "first")
      expect(line.shift()).toBeUndefined()
    },
    modelRuns
  )
})
