/** The ledger as a process: takes lines of JSON on a loopback port, which it prints, and answers each with a line. */
import { createServer } from "node:net"
import type { Arrived, Entry, Request } from "../ledger.js"

const entries: Array<Arrived> = []
const enter = (entry: Entry) => entries.push({ ...entry, at: performance.now() })
const values = new Map<string, string>()
let connections = 0
/** Answers held back, and how many effects are still answered. */
const held: Array<() => void> = []
let hold = Infinity

const answer = (request: Request): unknown => {
  switch (request.op) {
    case "entries":
      return entries
    case "count":
      return entries.length
    case "others":
      return connections - 1
    case "find":
      return values.get(request.key) ?? null
    case "hold":
      hold = request.after
      return null
    case "waiting":
      return held.length
    case "pass":
      hold = Infinity
      return null
    case "release":
      hold = Infinity
      for (const send of held.splice(0)) send()
      return null
    case "effect": {
      enter(request)
      // the world heeds the key: what was done is not done again, and its first result is the answer
      const value = values.get(request.key) ?? request.value
      values.set(request.key, value)
      return value
    }
    default:
      return enter(request)
  }
}

const server = createServer((socket) => {
  connections++
  socket.setNoDelay(true)
  let text = ""
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (text + chunk).split("\n")
    // a line that a kill has cut off is not one
    text = lines.pop() ?? ""
    for (const line of lines) {
      const [id, request] = JSON.parse(line) as [number, Request]
      const reply = `${JSON.stringify([id, answer(request)])}\n`
      const send = () => void socket.write(reply)
      if (request.op === "effect" && --hold < 0) held.push(send)
      else send()
    }
  })
  socket.on("error", () => {})
  socket.on("close", () => connections--)
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  process.stdout.write(`${typeof address === "object" ? address?.port : ""}\n`)
})
process.stdin.on("end", () => process.exit(0)).resume()
