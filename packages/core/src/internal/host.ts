/** What Node tells about the process and the machine, taken from `globalThis`, so that what uses it loads anywhere. */
import { memoryLimitOf } from "./memoryLimit.js"

interface Process {
  readonly memoryUsage: () => { readonly heapUsed: number; readonly rss: number }
  readonly getBuiltinModule?: (id: string) => unknown
}

interface V8 {
  readonly getHeapStatistics: () => { readonly heap_size_limit: number }
}

interface Os {
  readonly totalmem: () => number
}

interface Files {
  readonly readFileSync: (path: string, encoding: "utf8") => string
  readonly promises: {
    readonly readFile: (path: string, encoding: "utf8") => Promise<string>
    readonly readdir: (path: string) => Promise<ReadonlyArray<string>>
    readonly statfs: (path: string) => Promise<
      { readonly bsize: number; readonly blocks: number; readonly bfree: number; readonly bavail: number }
    >
  }
}

export const { process } = globalThis as { readonly process?: Process }

// before Node 20.16 and in a browser there are none
const builtin = <A>(id: string): A | undefined => process?.getBuiltinModule?.(id) as A | undefined

export const v8 = (): V8 | undefined => builtin("node:v8")

export const files = (): Files | undefined => builtin("node:fs")

/** A file's text; `undefined` if it cannot be read. */
const read = (path: string): string | undefined => {
  try {
    return files()?.readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

/** Bytes that this process may use: the least limit of its cgroups, and what the machine has. */
export const memoryLimit = (): number | undefined => {
  const machine = builtin<Os>("node:os")?.totalmem()
  return machine === undefined ? undefined : memoryLimitOf(read, machine)
}

/** Whether there is a `/proc` that tells of the files a process has open. */
export const hasProc = (): boolean => read("/proc/self/limits") !== undefined
