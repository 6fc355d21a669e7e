import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { harmful, names, startLedger, temporary, travel } from "./support.js"
import { traced } from "./system.js"

harmful("measure", async ({ injected, note }) => {
  injected(1)
  for (const concurrency of [1, 3]) {
    for (const when of [1, 3, 5, 6, 8, 12, 20, 99]) {
      const ledger = await startLedger()
      const directory = await temporary()
      const log = Path.join(directory, "strace.log")
      const task = { file: Path.join(directory, "firebreak.db"), port: ledger.port, runs: names(3), concurrency }
      const ended = await travel(task, {
        prefix: traced("fsync,fdatasync", ["-e", `inject=fsync,fdatasync:error=EIO:when=${when}+`], log)
      }).ended
      const per: Record<string, string> = {}
      for (const line of (await Fs.readFile(log, "utf8")).split("\n")) {
        const pid = line.split(" ")[0]!
        if (/sync\(/.test(line)) per[pid] = (per[pid] ?? "") + (line.includes("INJECTED") ? "X" : ".")
      }
      await Fs.appendFile(
        "/tmp/measure.txt",
        `${concurrency} ${when} ${ended.code} ${JSON.stringify(Object.values(per))}\n`
      )
    }
  }
  note("")
})
