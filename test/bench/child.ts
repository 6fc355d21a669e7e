/** Runs one case, named by the first two arguments, in a process of its own; any others name the only candidates to run. */
import { benches } from "./cases.js"
import * as Measure from "./measure.js"

const [bench, name, ...only] = process.argv.slice(2)
const found = benches[bench ?? ""]?.find((candidate) => candidate.name === name)
if (found === undefined) throw new Error(`no case ${bench}/${name}`)
const rounds = process.env["BENCH_ROUNDS"]
const samples = await Measure.run(
  rounds === undefined ? found : { ...found, rounds: Number(rounds) },
  { only, warmUpMillis: Number(process.env["BENCH_WARM_UP_MILLIS"] ?? 1_000) }
)
process.stdout.write(JSON.stringify(samples), () => process.exit(0))
