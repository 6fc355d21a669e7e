// @ts-check
/**
 * Who owns a claim, and whether that process still lives.
 *
 * An owner is written `boot/namespace/pid/start/nonce`. A process is the same one only if its start time is the same
 * too, for pids are used again. Where the system does not tell (no Linux, another container), an owner counts as alive
 * until its lease ends.
 */
import { randomBytes } from "node:crypto"
import { readFileSync, readlinkSync } from "node:fs"

/** @param {string} path */
const read = (path) => {
  try {
    return readFileSync(path, "utf8").trim()
  } catch {
    return ""
  }
}

/**
 * State and start time (in ticks since boot) of a process; undefined where `/proc` does not show it. The name in
 * parentheses may hold anything, so fields are counted from its end.
 *
 * @param {number | "self"} pid
 */
const stat = (pid) => {
  const line = read(`/proc/${pid}/stat`)
  if (line === "") return undefined
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ")
  return { state: fields[0] ?? "", start: fields[19] ?? "" }
}

/** Names one start of this machine, within which its monotonic clock is comparable; empty where unknown. */
export const boot = read("/proc/sys/kernel/random/boot_id")

const namespace = (() => {
  try {
    return readlinkSync("/proc/self/ns/pid").replaceAll(/\D/g, "")
  } catch {
    return ""
  }
})()

const process_ = `${boot}/${namespace}/${process.pid}/${stat("self")?.start ?? ""}`

/** A new owner in this process. Not drawn from Effect's Random: two processes with one seed must differ. */
export const make = () => `${process_}/${randomBytes(6).toString("hex")}`

/**
 * Whether the owner's process has certainly ended.
 *
 * @param {string} owner
 */
export const isDead = (owner) => {
  if (owner.startsWith(`${process_}/`)) return false
  const [ownerBoot = "", ownerNamespace = "", pid = "", start = ""] = owner.split("/")
  if (ownerBoot !== boot) return ownerBoot !== "" && boot !== ""
  if (ownerNamespace !== namespace) return false
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    // EPERM: it lives, under another user
    return /** @type {NodeJS.ErrnoException} */ (error).code === "ESRCH"
  }
  const now = stat(Number(pid))
  // Z and X: killed, and only its parent has not looked yet
  return now !== undefined && start !== "" && (now.start !== start || now.state === "Z" || now.state === "X")
}

/**
 * Microseconds for which a claim is still held; 0 when it may be taken over: nobody has it, its owner is dead, or its
 * lease has ended. A lease of a living owner on another clock cannot be compared and counts as just begun.
 *
 * @param {{ readonly owner: string | null, readonly leaseClock: string | null, readonly leaseUntil: number | null }} row
 * @param {{ readonly now: number, readonly clock: string, readonly lease?: number }} moment
 */
export const heldFor = (row, moment) => {
  if (row.owner === null || isDead(row.owner)) return 0
  if (row.leaseClock !== moment.clock) return moment.lease ?? 1_000_000
  return Math.max(0, (row.leaseUntil ?? 0) - moment.now)
}
