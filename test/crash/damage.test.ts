/**
 * Bits flipped, files cut, deleted and put back in a store that nobody has open: what is damaged is refused by name, what
 * is answered is what was recorded. Never a wrong answer, and never none for what was there.
 */
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { expect } from "vitest"
import type { Entry } from "./ledger.js"
import type { Read, Task } from "./programs/reader.js"
import { count, eventually, harmful, names, sleep, start, startLedger, temporary, travel, travelOn } from "./support.js"

harmful("bits flipped and files cut short", async ({ between, injected, note, random }) => {
  const store = await prepare(50)
  const { copy, files, read } = store

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

harmful("files deleted, made unreadable and put back older", async ({ between, injected, note }) => {
  const rounds = count(1, 50)
  const tally = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    const { copy, older, read, resume } = await prepare(between(10, 90))
    const [intact] = await read([await copy("intact")])
    expect(intact).toMatchObject({ refused: null, damage: [] })
    for (const [name, { harm, promised }] of Object.entries(losses)) {
      const folder = await copy(name.replaceAll(" ", "-"))
      await harm(Path.join(folder, "firebreak.db"), older)
      const [{ answers, damage, file, refused }] = await read([folder]) as [Read]
      injected()
      tally.set(name, (tally.get(name) ?? 0) + 1)
      if (promised === undefined) {
        // what is in the database is taken for true, and watched from now on
        expect({ refused, answers, damage }, name).toEqual({ refused: null, answers: intact!.answers, damage: [] })
        expect(await Fs.readFile(`${file}-anchor`, "utf8"), name).toContain("journey/run-0")
      } else {
        expect(refused, name).toMatch(promised)
        expect(refused, name).toContain(`${file}-anchor`)
        expect(damage.join("\n"), `what verify finds, with ${name}`).toMatch(promised)
      }
    }
    await resume("the-anchor-deleted")
  }
  note(Array.from(tally, ([name, times]) => `${name}: ${times}`).join(", "))
})

/** A file's harm, and what the refusal must name; where there is none, nothing is lost and the store opens. */
interface Loss {
  readonly harm: (file: string, older: string) => Promise<void>
  readonly promised?: RegExp
}

const losses: Readonly<Record<string, Loss>> = {
  "the log deleted": {
    harm: (file) => Fs.rm(`${file}-wal`),
    promised: /older than it was: claim \d+ was recorded.*run "journey\/run-1\d"/s
  },
  "the database deleted": {
    harm: (file) => Fs.rm(file),
    promised: /run "journey\/run-\d+" is lost/
  },
  "an older database put back": {
    harm: async (file, older) => {
      await Fs.rm(`${file}-wal`)
      await Fs.copyFile(older, file)
    },
    promised: /older than it was: claim \d+ was recorded.*run "journey\/run-1\d"/s
  },
  "the anchor unreadable": {
    harm: async (file) => {
      const { size } = await Fs.stat(`${file}-anchor`)
      await Fs.writeFile(`${file}-anchor`, randomBytes(size))
    },
    promised: /the anchor .* cannot be read/
  },
  "the anchor deleted": { harm: (file) => Fs.rm(`${file}-anchor`) }
}

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
const prepare = async (effects: number) => {
  const ledger = await startLedger()
  const directory = Path.join(await temporary(), "store")
  const file = Path.join(directory, "firebreak.db")
  const copies = await temporary()
  const runs = names(20)
  const voyages = names(10, "voyage")
  const task = { file, port: ledger.port, pad: 200, concurrency: 15 }
  await travelOn({ ...task, runs: runs.slice(0, 10), voyages: voyages.slice(0, 5) })
  const older = Path.join(copies, "older.db")
  await Fs.copyFile(file, older)
  await ledger.hold(effects)
  const child = travel({ ...task, runs: runs.slice(10), voyages: voyages.slice(5) })
  const isEnd = ({ op }: Entry) => op === "ended"
  await eventually(async () => await ledger.waiting() + (await ledger.entries()).filter(isEnd).length === 30)
  // the anchor may be 20 ms late, and what the log loses of those is not noticed; the times of files are no finer
  const changed = async (suffix: string) => (await Fs.stat(`${file}${suffix}`)).mtimeMs
  await eventually(async () => await changed("-anchor") >= await changed("-wal"))
  await sleep(100)
  child.signal("SIGKILL")
  await child.ended
  const actions = runs.flatMap((run) =>
    Array.from({ length: 10 }, (_, i) => ({ step: `step-${i}`, kind: ["", "retried", "probed"][i % 3]! }))
      .filter(({ kind }) => kind !== "")
      .map(({ kind, step }) => ({ scope: "", operation: kind, key: `${run}/${step}` }))
  )
  const files = (await Fs.readdir(directory)).filter((name) => !name.endsWith("-shm"))
  return {
    files,
    /** The database as it was before the unfinished runs. */
    older,
    /** Copies the store to a folder of that name. */
    copy: async (name: string) => {
      const to = Path.join(copies, name)
      await Fs.mkdir(to)
      for (const file of files) await Fs.copyFile(Path.join(directory, file), Path.join(to, file))
      return to
    },
    read: async (folders: ReadonlyArray<string>) => {
      const task: Task = {
        files: folders.map((folder) => Path.join(folder, "firebreak.db")),
        runs: [
          ...runs.map((run) => `journey/${run}`),
          ...voyages.flatMap((run) => [
            `voyage/${run}`,
            ...["calm", "storm"].map((leg) => `leg/voyage/${run}/${leg}`)
          ])
        ],
        actions
      }
      const ended = await start("reader", [JSON.stringify(task)]).ended
      expect(ended, ended.stderr).toMatchObject({ code: 0, stderr: "" })
      return ended.said as ReadonlyArray<unknown> as ReadonlyArray<Read>
    },
    /** Makes the journeys to their end on the copy of that name; only on one, for they are made once. */
    resume: async (name: string) => {
      await ledger.pass()
      const store = { file: Path.join(copies, name, "firebreak.db") }
      await travelOn({ ...task, ...store, runs, voyages })
      await ledger.expectWhole(runs)
      await ledger.expectVoyages(voyages, store)
    }
  }
}
