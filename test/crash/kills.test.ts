/** Processes that end where they stand: killed at random, at each of their system calls, or with the power gone. */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { expect } from "vitest"
import { count, harmful, names, shuffled, sleep, startLedger, temporary, travel, travelOn, which } from "./support.js"
import { mountDisk, traced } from "./system.js"

harmful("kill -9 at a random moment", async ({ between, injected, note, random }) => {
  const kills = count(30, 1_000)
  const ledger = await startLedger()
  const store = { file: Path.join(await temporary(), "store", "firebreak.db"), port: ledger.port }
  const [runs, voyages] = [names(kills), names(kills, "voyage")]
  let starts = 0
  for (let done = 0; done < kills;) {
    starts++
    // new runs each time; those left behind are taken up first
    const some = (all: ReadonlyArray<string>) => all.slice(Math.max(0, done - 4), done + 4)
    const child = travel({ ...store, runs: some(runs), voyages: some(voyages), concurrency: between(1, 8) })
    // now and then while it starts, mostly while it works
    if (random() < 0.1) await sleep(between(0, 300))
    else {
      await Promise.race([child.ended, new Promise<void>((resolve) => whenOpen(child, resolve))])
      await sleep(between(0, 120))
    }
    child.signal("SIGKILL")
    const { said, signal } = await child.ended
    if (signal === null) expect(said, "ended by itself").toContainEqual({ said: "done" })
    if (signal === "SIGKILL") {
      injected()
      done++
    }
    await ledger.settled()
  }
  await travelOn({ ...store, runs, voyages })
  await ledger.expectWhole(runs)
  await ledger.expectVoyages(voyages, store)
  note(`${runs.length + voyages.length} runs, ${starts} processes`)
})

/** What is killed at each of its calls. */
const kinds = {
  "a ten-step run": (name: string) => ({ runs: [name], voyages: [] }),
  "a run of every kind of step": (name: string) => ({ runs: [], voyages: [name] })
}

for (const [kind, runOf] of Object.entries(kinds)) {
  harmful(`a kill at every write, flush and unlink of ${kind}`, async ({ injected, note, random, skip }) => {
    if (which("strace") === undefined) skip("strace is not installed")
    const ledger = await startLedger()
    // once without a fault, to learn which calls there are: strace counts those of each thread by themselves
    const log = Path.join(await temporary(), "strace.log")
    const first = await freshStore(ledger.port)
    await travelOn({ ...runOf("counted"), ...first.store }, { prefix: traced(calls.join(), first.only, log) })
    const points = pointsOf(await Fs.readFile(log, "utf8"))
    const chosen = shuffled(random, points).slice(0, count(8, points.length))
    for (const { call, nth } of chosen) {
      const { only, store } = await freshStore(ledger.port)
      const run = runOf(`${call}-${nth}`)
      const ended = await travel({ ...run, ...store }, {
        prefix: traced(call, [...only, "-e", `inject=${call}:signal=KILL:when=${nth}`])
      }).ended
      if (ended.said.at(-1)?.said !== "done") injected()
      await ledger.settled()
      await travelOn({ ...run, ...store })
      await ledger.expectWhole(run.runs)
      if (run.voyages.length > 0) await ledger.expectVoyages(run.voyages, store)
    }
    note(`${chosen.length} of ${points.length} calls`)
  })
}

harmful("a power cut at a random moment", async ({ between, injected, note, skip }) => {
  const disk = await mountDisk(skip)
  const ledger = await startLedger()
  const cuts = count(5, 200)
  const store = { file: Path.join(disk.directory, "store", "firebreak.db"), port: ledger.port }
  const [runs, voyages] = [names(cuts), names(cuts, "voyage")]
  for (let cut = 0; cut < cuts; cut++) {
    const some = (all: ReadonlyArray<string>) => all.slice(Math.max(0, cut - 4), cut + 4)
    const child = travel({ ...store, runs: some(runs), voyages: some(voyages), concurrency: between(1, 8) })
    await Promise.race([child.ended, new Promise<void>((resolve) => whenOpen(child, resolve))])
    await sleep(between(0, 150))
    // it stops first: a flush under way at the cut may return as if it had been done, which nobody sees without power
    child.signal("SIGSTOP")
    disk.cut()
    injected()
    child.signal("SIGKILL")
    const { said, signal } = await child.ended
    if (signal === null) expect(said, "ended by itself").toContainEqual({ said: "done" })
    await ledger.settled()
    disk.remount()
  }
  await travelOn({ ...store, runs, voyages })
  await ledger.expectWhole(runs)
  await ledger.expectVoyages(voyages, store)
  note(`${runs.length + voyages.length} runs`)
})

const calls = ["write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "unlink", "mkdir"]

/** A store of its own; `only` has strace look at its files and nothing else. */
const freshStore = async (port: number) => {
  const directory = Path.join(await temporary(), "store")
  const file = Path.join(directory, "firebreak.db")
  const paths = [
    directory,
    ...["", "-wal", "-shm", "-journal", "-anchor", "-anchor.new"].map((suffix) => `${file}${suffix}`)
  ]
  return { store: { file, port }, only: paths.flatMap((path) => ["-P", path]) }
}

/** Each call of a trace, by its number among those of its name in its thread. */
const pointsOf = (log: string) => {
  const times = new Map<string, number>()
  const points = new Map<string, { readonly call: string; readonly nth: number }>()
  for (const [, thread, call] of log.matchAll(/^(\d+)\s+(\w+)\(/gm)) {
    const nth = (times.get(`${thread} ${call}`) ?? 0) + 1
    times.set(`${thread} ${call}`, nth)
    points.set(`${call} ${nth}`, { call: call!, nth })
  }
  return [...points.values()]
}

const whenOpen = (child: ReturnType<typeof travel>, resolve: () => void): void => {
  if (child.said.length > 0 || child.hasEnded()) resolve()
  else setTimeout(() => whenOpen(child, resolve), 1)
}
