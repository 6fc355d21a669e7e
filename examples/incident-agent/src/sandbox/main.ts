/**
 * `sandbox [--port P] [--ledger FILE] [--state FILE] [--seed N] [--leash]`: runs the sandbox until it is told to stop, and prints its URL on
 * standard output once it listens. Exit 2 on bad input, 1 if it cannot listen.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as Sandbox from "./Sandbox.js"

const usage = `Usage: sandbox [--port P] [--ledger FILE] [--state FILE] [--seed N] [--leash]

  --port P       port on 127.0.0.1; 0 takes any free one (default 4010)
  --ledger FILE  append a JSON line for every vendor call to FILE
  --state FILE   keep the fleet in FILE and go on from there
  --leash        end when standard input ends
  --seed N       fixes the fleet's noise and the chance of faults (default 1)`

class BadFlag extends Error {}

const wholeNumber = (flag: string, text: string | undefined, fallback: number, max: number): number => {
  if (text === undefined) return fallback
  const number = Number(text)
  if (!/^\d+$/.test(text) || number > max) {
    throw new BadFlag(`--${flag} must be a whole number from 0 to ${max}, not "${text}"`)
  }
  return number
}

const flags = Effect.try({
  try: () => {
    const { values } = parseArgs({
      options: {
        port: { type: "string" },
        ledger: { type: "string" },
        state: { type: "string" },
        seed: { type: "string" },
        leash: { type: "boolean" },
        help: { type: "boolean", short: "h" }
      }
    })
    for (const flag of ["ledger", "state"] as const) {
      if (values[flag] === "") throw new BadFlag(`--${flag} must name a file`)
    }
    return {
      help: values.help === true,
      port: wholeNumber("port", values.port, 4010, 65_535),
      ledger: values.ledger,
      state: values.state,
      leash: values.leash === true,
      seed: wholeNumber("seed", values.seed, Sandbox.defaults.seed, 2 ** 31 - 1)
    }
  },
  catch: (error) => error instanceof Error ? error.message : String(error)
})

const exit = (code: number, message: string) =>
  Effect.zipRight(
    Console.error(`sandbox: ${message}`),
    Effect.sync(() => {
      process.exitCode = code
    })
  )

const stdinEnd = Effect.async<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).once("error", () => resume(Effect.void)).resume()
})

const program = Effect.gen(function*() {
  const { help, leash, ...options } = yield* Effect.mapError(
    flags,
    (message) => ({ _tag: "BadFlags" as const, message })
  )
  if (help) return yield* Console.log(usage)
  const { url } = yield* Sandbox.make(options)
  yield* Console.log(`sandbox: ${url}`)
  return yield* leash ? stdinEnd : Effect.never
}).pipe(
  Effect.scoped,
  Effect.catchTags({
    BadFlags: ({ message }) => exit(2, `${message.split(/\.\s/)[0]}; see --help`),
    StateUnavailable: ({ message }) => exit(2, `--state: ${message}`),
    LedgerUnavailable: ({ message }) => exit(2, `--ledger: ${message}`),
    ServeError: ({ cause }) => exit(1, `cannot listen: ${cause instanceof Error ? cause.message : String(cause)}`)
  })
)

NodeRuntime.runMain(program, { disablePrettyLogger: true })
