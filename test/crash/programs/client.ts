/** A connection to the ledger: one request after the other, each answered by a line. */
import { connect } from "node:net"
import { createInterface } from "node:readline"
import type { Request } from "../ledger.js"

export interface Ledger {
  readonly ask: (request: Request) => Promise<unknown>
  readonly close: () => void
}

export const open = (port: number): Promise<Ledger> =>
  new Promise((resolve, reject) => {
    const waiting: Array<{ readonly answered: (answer: unknown) => void; readonly failed: (error: Error) => void }> = []
    const socket = connect(port, "127.0.0.1")
    socket.setNoDelay(true)
    const fail = (error: Error) => {
      reject(error)
      for (const { failed } of waiting.splice(0)) failed(error)
    }
    socket.on("error", fail)
    socket.on("close", () => fail(new Error("the ledger is gone")))
    socket.once("connect", () =>
      resolve({
        ask: (request) =>
          new Promise((answered, failed) => {
            waiting.push({ answered, failed })
            socket.write(`${JSON.stringify(request)}\n`)
          }),
        close: () => socket.destroy()
      }))
    createInterface({ input: socket }).on("line", (line) => waiting.shift()?.answered(JSON.parse(line)))
  })
