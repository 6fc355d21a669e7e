/** What the tests ask of the system: traced processes, small and loop-mounted file systems. */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { afterwards, type Harm, temporary, which } from "./support.js"

/** The command that starts another one under strace: which calls, and more of its options, such as faults to inject. */
export const traced = (calls: string, options: ReadonlyArray<string>, output = "/dev/null"): ReadonlyArray<string> => [
  "strace",
  "-f",
  "-qq",
  "-o",
  output,
  "-e",
  `trace=${calls}`,
  ...options
]

/** A file system of that size in memory, until the test has ended. */
export const mountTmpfs = async (size: string, skip: Harm["skip"]): Promise<string> => {
  const directory = Path.join(await temporary(), "tmpfs")
  await Fs.mkdir(directory)
  run(skip, "mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", directory])
  afterwards(() => Promise.resolve(spawnSync("umount", ["-l", directory])))
  return directory
}

/** An ext4 file system in a file, mounted while the test runs. */
export interface Disk {
  readonly directory: string
  /** Loses all that was not flushed, as a power cut does; nothing can be written until `mount`. */
  readonly cut: () => void
  /** Takes it away, and back as it is on the disk. */
  readonly remount: () => void
}

export const mountDisk = async (skip: Harm["skip"]): Promise<Disk> => {
  const folder = await temporary()
  const [image, directory] = [Path.join(folder, "disk.img"), Path.join(folder, "disk")]
  await Fs.mkdir(directory)
  const file = await Fs.open(image, "w")
  await file.truncate(64 << 20)
  await file.close()
  for (const command of ["mkfs.ext4", "python3"]) if (which(command) === undefined) skip(`${command} is not installed`)
  run(skip, "mkfs.ext4", ["-q", "-F", image])
  const mount = () => run(skip, "mount", ["-o", "loop", image, directory])
  mount()
  afterwards(() => Promise.resolve(spawnSync("umount", ["-l", directory])))
  return {
    directory,
    // EXT4_IOC_SHUTDOWN without flushing the journal
    cut: () => run(skip, "python3", ["-c", shutdown, directory]),
    remount: () => {
      run(skip, "umount", [directory])
      mount()
    }
  }
}

// -----------------------------------------------------------------------------
// internal
// -----------------------------------------------------------------------------

const shutdown = `import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))`

const run = (skip: Harm["skip"], command: string, args: ReadonlyArray<string>): void => {
  const { error, status, stderr } = spawnSync(command, args, { encoding: "utf8" })
  if (status !== 0) skip(`${command}: ${(error?.message ?? stderr).trim()}`)
}
