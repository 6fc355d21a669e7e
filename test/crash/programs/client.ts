/** A connection to the ledger: numbered requests, each answered by a line. */
import { connect } from "node:net"
import { createInterface } from "node:readline"
import type { Request } from "../ledger.js"

export interface Ledger {
  readonly ask: (request: Request) => Promise<unknown>
  readonly close: () => void
}

interface Waiting {
  readonly answered: (answer: unknown) => void
  readonly failed: (error: Error) => void
}

export const open = (port: number): Promise<Ledger> =>
  new Promise((resolve, reject) => {
    const waiting = new Map<number, Waiting>()
    let asked = 0
    const socket = connect(port, "127.0.0.1")
    const fail = (error: Error) => {
      reject(error)
      for (const { failed } of waiting.values()) failed(error)
      waiting.clear()
    }
    socket.setNoDelay(true)
    socket.on("error", fail)
    socket.on("close", () => fail(new Error("the ledger is gone")))
    socket.once("connect", () =>
      resolve({
        ask: (request) =>
          new Promise((answered, failed) => {
            const id = asked++
            waiting.set(id, { answered, failed })
            socket.write(`${JSON.stringify([id, request])}\n`)
          }),
        close: () => socket.destroy()
      }))
    createInterface({ input: socket }).on("line", (line) => {
      const [id, answer] = JSON.parse(line) as [number, unknown]
      waiting.get(id)?.answered(answer)
      waiting.delete(id)
    })
  })
