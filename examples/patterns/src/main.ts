/** `pnpm example NAME` runs one demo; without a name it lists them. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { type Demo, demos } from "./demos.js"
import { fastForward } from "./internal/fastForward.js"

// a reader that goes away, such as head, ends the output and not the demo
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE" && error.code !== "ERR_STREAM_DESTROYED") throw error
  })
}

const names = Object.keys(demos)
const width = Math.max(...names.map((name) => name.length))

const list = Effect.zipRight(
  Console.log("Usage: pnpm example NAME\n"),
  Effect.forEach(names, (name) => Console.log(`  ${name.padEnd(width)}  ${demos[name]!.about}`), { discard: true })
)

const misused = (problem: string) =>
  Effect.zipRight(
    Console.error(`${problem}; the demos are: ${names.join(", ")}`),
    Effect.sync(() => void (process.exitCode = 2))
  )

const run = Effect.fnUntraced(function*(name: string, demo: Demo) {
  const title = `${name}: ${demo.about}`
  yield* Console.log(`${title}\n${"─".repeat(title.length)}`)
  const { main } = yield* Effect.promise(demo.load)
  yield* Console.log(demo.realTime === true ? "" : "(time is fast-forwarded)\n")
  yield* demo.realTime === true ? main : fastForward(main)
})

const [name, ...rest] = process.argv.slice(2).filter((argument) => argument !== "--")
const demo = name !== undefined && Object.hasOwn(demos, name) ? demos[name] : undefined

const program = name === undefined || name === "--help" || name === "-h"
  ? list
  : demo === undefined
  ? misused(`No demo is called "${name}"`)
  : rest.length > 0
  ? misused(`One demo at a time, got "${rest.join(" ")}" as well`)
  : run(name, demo)

NodeRuntime.runMain(program, { disablePrettyLogger: true })
