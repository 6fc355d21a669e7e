/**
 * Bits flipped and files cut in a store that nobody has open: what is damaged is refused by name, what is answered is what
 * was recorded. Never a wrong answer, and never none for what was there.
 */
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { expect } from "vitest"
import type { Read, Task } from "./programs/reader.js"
import { count, eventually, harmful, names, start, startLedger, temporary, travel, travelOn } from "./support.js"

harmful("bits flipped and files cut short", async ({ between, injected, note, random }) => {
  const { actions, directory, runs } = await prepare()
  const files = (await Fs.readdir(directory)).filter((name) => !name.endsWith("-shm"))
  const copies = await temporary()
  const copy = async (name: string) => {
    const to = Path.join(copies, name)
    await Fs.mkdir(to)
    for (const file of files) await Fs.copyFile(Path.join(directory, file), Path.join(to, file))
    return to
  }
  const read = async (folders: ReadonlyArray<string>) => {
    const task: Task = { files: folders.map((folder) => Path.join(folder, "firebreak.db")), runs, actions }
    const ended = await start("reader", [JSON.stringify(task)]).ended
    expect(ended, ended.stderr).toMatchObject({ code: 0, stderr: "" })
    return ended.said as ReadonlyArray<unknown> as ReadonlyArray<Read>
  }

  const [intact] = await read([await copy("intact")])
  expect(intact).toMatchObject({ refused: null, damage: [] })
  expect(Object.values(intact!.answers).filter((answer) => "failed" in answer)).toEqual([])

  const cases = count(50, 1_000)
  const tally = { refused: 0, named: 0, unaffected: 0 }
  for (let done = 0; done < cases; done += 25) {
    const folders = new Map<string, string>()
    for (let i = 0; i < 25; i++) {
      const folder = await copy(`case-${done + i}`)
      const file = files[between(0, files.length - 1)]!
      folders.set(Path.join(folder, "firebreak.db"), await damage(Path.join(folder, file), random))
    }
    for (const { answers, damage, file, refused } of await read([...folders.keys()].map(Path.dirname))) {
      injected()
      const harm = folders.get(file)
      if (refused !== null) {
        tally.refused++
        continue
      }
      const failed = Object.values(answers).filter((answer) => "failed" in answer).length
      for (const [what, answer] of Object.entries(answers)) {
        if ("is" in answer) expect(answer, `${what}, with ${harm}`).toEqual(intact!.answers[what])
      }
      if (failed > 0) expect(damage, `what verify finds, with ${harm}`).not.toEqual([])
      if (failed > 0) tally.named++
      else tally.unaffected++
    }
    for (const folder of folders.keys()) await Fs.rm(Path.dirname(folder), { recursive: true })
  }
  note(
    `${tally.refused} stores refused, ${tally.named} with the damage named, ${tally.unaffected} unaffected; files: ${
      files.join(", ")
    }`
  )
})

/** Flips a bit of the file, or cuts it; says what it did. */
const damage = async (path: string, random: () => number): Promise<string> => {
  const { size } = await Fs.stat(path)
  const at = Math.floor(random() * size)
  const name = Path.basename(path)
  if (random() < 0.25) {
    await Fs.truncate(path, at)
    return `${name} cut from ${size} to ${at} bytes`
  }
  const file = await Fs.open(path, "r+")
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    const bit = Math.floor(random() * 8)
    byte[0] = byte[0]! ^ (1 << bit)
    await file.write(byte, 0, 1, at)
    return `bit ${bit} of byte ${at} of ${size} of ${name} flipped`
  } finally {
    await file.close()
  }
}

/** A store with ended and unfinished runs, part of it in the file and part in the log, as a kill leaves it. */
const prepare = async () => {
  const ledger = await startLedger()
  const directory = Path.join(await temporary(), "store")
  const file = Path.join(directory, "firebreak.db")
  const runs = names(20)
  await travelOn({ file, port: ledger.port, runs: runs.slice(0, 10), pad: 200 })
  await ledger.hold(50)
  const child = travel({ file, port: ledger.port, runs: runs.slice(10), pad: 200, concurrency: 10 })
  await eventually(async () => await ledger.waiting() === 10)
  child.signal("SIGKILL")
  await child.ended
  const actions = runs.flatMap((run) =>
    Array.from({ length: 10 }, (_, i) => ({ step: `step-${i}`, kind: ["", "retried", "probed"][i % 3]! }))
      .filter(({ kind }) => kind !== "")
      .map(({ kind, step }) => ({ scope: "", operation: kind, key: `${run}/${step}` }))
  )
  return { directory, runs: runs.map((run) => `journey/${run}`), actions }
}
