/** The memory that a process may use, by the files of cgroups. */

/**
 * The least of the machine's bytes and the limits of the process's cgroup and of all above it: `memory.max` of version 2,
 * `memory.limit_in_bytes` of version 1. A container may see the path that its cgroup has on the host and only the files
 * of its own, at the root: what is not there is passed over.
 */
export const memoryLimitOf = (read: (path: string) => string | undefined, machine: number): number => {
  let least = machine
  const look = (mount: string, path: string, file: string) => {
    for (let at = path.replace(/\/+$/, "");; at = at.slice(0, at.lastIndexOf("/"))) {
      const limit = Number(read(`${mount}${at}/${file}`)?.trim() || NaN)
      // "max" and zero are no limits
      if (limit > 0) least = Math.min(least, limit)
      if (!at.includes("/")) return
    }
  }
  for (const line of (read("/proc/self/cgroup") ?? "").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    if (controllers === "") look("/sys/fs/cgroup", path, "memory.max")
    if (controllers.split(",").includes("memory")) look("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
  }
  return least
}
