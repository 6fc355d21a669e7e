/** Several processes on one store, stopped processes, clocks that jump: who owns a run must not depend on any of it. */
import { expect } from "vitest"
import {
  count,
  eventually,
  harmful,
  names,
  type Process,
  sleep,
  start,
  startLedger,
  stores,
  travel,
  travelOn
} from "./support.js"

/** Of the process that is harmed. The others have 30 seconds: a stall of theirs is not to look like a death. */
const shortLease = (millis: number) => ({ env: { JOURNEY_LEASE: `${millis}` } })

const expectDone = async (process: Process) => {
  const ended = await process.ended
  expect(ended.stderr).toBe("")
  expect(ended.said).toContainEqual({ said: "done" })
  return ended
}

for (const [name, makeStore] of Object.entries(stores)) {
  harmful(`${name}: several processes on one store, one of them killed`, async ({ between, injected, note, skip }) => {
    const rounds = count(2, 100)
    for (let round = 0; round < rounds; round++) {
      const ledger = await startLedger()
      const [runs, voyages] = [names(15), names(5, "voyage")]
      const task = { ...await makeStore(skip), port: ledger.port, runs, voyages, concurrency: 4 }
      const all = [travel(task, shortLease(3_000)), travel(task), travel(task)] as const
      const most = between(20, 150)
      await eventually(async () => await ledger.count() >= most)
      all[0].signal("SIGKILL")
      if ((await all[0].ended).signal === "SIGKILL") injected()
      for (const process of all.slice(1)) await expectDone(process)
      injected(2)
      await ledger.expectWhole(runs)
      await ledger.expectVoyages(voyages, task)
    }
    note(`${rounds * 3} processes`)
  })

  harmful(`${name}: SIGSTOP past the lease, and SIGCONT`, async ({ between, injected, note, skip }) => {
    const times = count(2, 50)
    let fenced = 0
    for (let i = 0; i < times; i++) {
      const ledger = await startLedger()
      const task = { ...await makeStore(skip), port: ledger.port, runs: names(3), concurrency: 3 }
      // few enough that no run has ended
      await ledger.hold(between(0, 9))
      const zombie = travel(task, shortLease(2_000))
      // every run stands in a step whose effect has arrived and whose answer has not
      await eventually(async () => zombie.hasEnded() || await ledger.waiting() >= 3)
      expect(zombie.said).toEqual([{ said: "open" }])
      zombie.signal("SIGSTOP")
      injected()
      await ledger.pass()
      await travelOn(task)
      await ledger.expectWhole(task.runs)
      const before = await ledger.count()
      await ledger.release()
      zombie.signal("SIGCONT")
      const { said } = await expectDone(zombie)
      const after = (await ledger.entries()).slice(before)
      expect(after.filter(({ op }) => op === "effect"), "effects of the zombie").toEqual([])
      fenced += said.filter((line) => line.said === "failed" && line.tag === "RunFenced").length
      await ledger.expectWhole(task.runs)
    }
    expect(fenced, "writes refused").toBeGreaterThanOrEqual(times * 3)
    note(`${fenced} writes of a zombie refused`)
  })

  harmful(`${name}: the wall clock an hour back and forth`, async ({ injected, note, skip }) => {
    const ledger = await startLedger()
    const runs = names(count(40, 1_000))
    const task = { ...await makeStore(skip), port: ledger.port, runs, concurrency: 4 }
    const all = [
      travel({ ...task, jumps: 7 }, shortLease(3_000)),
      travel({ ...task, jumps: 11 }),
      travel(task)
    ] as const
    await sleep(500)
    all[0].signal("SIGKILL")
    await all[0].ended
    for (const process of all.slice(1)) {
      for (const line of (await expectDone(process)).said) if (line.said === "jumped") injected(line.times)
    }
    await ledger.expectWhole(runs)
    note(`${runs.length} runs on 3 processes`)
  })

  harmful(`${name}: 10,000 duplicates of one key over four processes`, async ({ injected, note, skip }) => {
    const ledger = await startLedger()
    const task = { ...await makeStore(skip), port: ledger.port, key: "same", calls: 2_500 }
    const all = Array.from({ length: 4 }, () => start("duplicates", [JSON.stringify(task)]))
    const values = new Set<string>()
    for (const process of all) {
      const { said, stderr } = await process.ended
      expect(stderr).toBe("")
      const line = said.find((line) => line.said === "results")
      expect(line?.count).toBe(task.calls)
      line?.values.forEach((value) => values.add(value))
      injected(task.calls)
    }
    expect((await ledger.entries()).length, "executions").toBe(1)
    expect(values.size, "different results").toBe(1)
    note("every tenth caller interrupted")
  })
}
