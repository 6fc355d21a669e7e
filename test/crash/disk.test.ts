/** Disks that fail: a typed error where the disk gives one, and nothing lost or repeated after it. */
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { expect } from "vitest"
import { count, eventually, harmful, names, startLedger, temporary, travel, travelOn, which } from "./support.js"
import { mountTmpfs, traced } from "./system.js"

harmful("EIO on the nth fsync, once or for good", async ({ between, injected, note, skip }) => {
  if (which("strace") === undefined) skip("strace is not installed")
  const times = count(4, 100)
  const reasons = new Set<string>()
  for (let i = 0; i < times; i++) {
    const ledger = await startLedger()
    const directory = await temporary()
    const log = Path.join(directory, "strace.log")
    const runs = names(3)
    const voyages = names(2, "voyage")
    const task = {
      file: Path.join(directory, "firebreak.db"),
      port: ledger.port,
      runs,
      voyages,
      concurrency: between(1, 3)
    }
    const forGood = i % 2 === 1
    // strace counts the calls of each thread by themselves, and two threads commit, more than 30 times in all however the
    // commits are grouped: so both cannot stay below the 10th
    const when = forGood ? `${between(1, 10)}+` : `${between(1, 20)}`
    const ended = await travel(task, {
      prefix: traced("fsync,fdatasync", ["-e", `inject=fsync,fdatasync:error=EIO:when=${when}`], log)
    }).ended
    injected((await Fs.readFile(log, "utf8")).match(/\(INJECTED\)/g)?.length ?? 0)
    const failures = ended.said.filter((line) => line.said === "failed")
    for (const { reason, tag } of failures) {
      // what the user's own statement says is the driver's error
      expect(["StoreError", "SqlError"]).toContain(tag)
      reasons.add(reason ?? tag)
    }
    // one failed flush may be made good by writing again, before anything is promised
    if (forGood) expect(ended.code).toBe(3)
    await ledger.settled()
    await travelOn(task)
    await ledger.expectWhole(runs)
    await ledger.expectVoyages(voyages, task)
  }
  note(`reported as ${[...reasons].join(", ")}`)
})

harmful("a full disk, and space again without a restart", async ({ injected, skip, note }) => {
  const ledger = await startLedger()
  const directory = await mountTmpfs("16m", skip)
  const ballast = Path.join(directory, "ballast")
  writeFileSync(ballast, Buffer.alloc(16_000_000))
  const runs = names(20)
  const process = travel(
    { file: Path.join(directory, "firebreak.db"), port: ledger.port, runs, pad: 3_000, patient: true },
    { env: { JOURNEY_LEASE: "500" } }
  )
  const failures = () => process.said.flatMap((line) => line.said === "failed" ? [line] : [])
  await eventually(() => failures().length >= 8 || process.hasEnded())
  expect(new Set(failures().map(({ reason, tag }) => `${tag} ${reason}`))).toEqual(new Set(["StoreError full"]))
  injected(failures().length)
  await Fs.rm(ballast)
  const { said } = await process.ended
  expect(said).toContainEqual({ said: "done" })
  await ledger.expectWhole(runs)
  note(`${runs.length} runs`)
})

harmful("a directory that cannot be written", async ({ injected, skip }) => {
  const ledger = await startLedger()
  const directory = await mountTmpfs("8m", skip)
  const task = { file: Path.join(directory, "firebreak.db"), port: ledger.port, runs: names(4) }
  await ledger.hold(12)
  const process = travel(task)
  await eventually(async () => await ledger.waiting() === 4)
  process.signal("SIGKILL")
  await process.ended
  await ledger.settled()
  await ledger.pass()
  remount(directory, "ro")
  const refused = await travel(task).ended
  expect(refused.code).toBe(3)
  expect(refused.said.at(-1)).toMatchObject({ said: "failed", tag: "StoreError", reason: "readonly" })
  injected()
  remount(directory, "rw")
  await travelOn(task)
  await ledger.expectWhole(task.runs)
})

const remount = (directory: string, mode: "ro" | "rw") =>
  expect(spawnSync("mount", ["-o", `remount,${mode}`, directory]).status, `remount ${mode}`).toBe(0)
