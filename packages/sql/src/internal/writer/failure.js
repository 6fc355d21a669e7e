// @ts-check
/** Why the driver failed, in the words of `StoreError`. */
import { Damage } from "./digest.js"
import { SessionOver } from "./session.js"

/** @type {ReadonlyArray<readonly [RegExp, import("../protocol.js").Failure["reason"]]>} */
const reasons = [
  [/^SQLITE_(BUSY|LOCKED|PROTOCOL)/, "busy"],
  [/^(SQLITE_FULL|ENOSPC|EDQUOT)/, "full"],
  [/^(SQLITE_(READONLY|CANTOPEN|PERM)|EROFS|EACCES|EPERM|ENOTDIR|EEXIST|ENOENT)/, "readonly"],
  [/^SQLITE_(CORRUPT|NOTADB)/, "corrupt"]
]

/**
 * @param {unknown} error
 * @returns {import("../protocol.js").Failure}
 */
export const describe = (error) => {
  if (error instanceof SessionOver) return { reason: "busy", detail: error.message }
  if (error instanceof Damage) return { reason: "corrupt", detail: error.message }
  if (!(error instanceof Error)) return { reason: "io", detail: String(error) }
  const code = "code" in error ? String(error.code) : ""
  const reason = reasons.find(([pattern]) => pattern.test(code))?.[1] ?? "io"
  return { reason, detail: code === "" ? error.message : `${error.message} [${code}]` }
}

/** @param {unknown} error */
export const isBusy = (error) => describe(error).reason === "busy"
