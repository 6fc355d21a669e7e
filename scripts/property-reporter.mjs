// Prints, after a test run, which properties were tried how often and from which seed; FC_SEED=… repeats one.
export default class PropertyReporter {
  onTestRunEnd(modules) {
    const rows = []
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { property } = test.meta()
        if (property !== undefined) rows.push({ ...property, name: test.fullName })
      }
    }
    if (rows.length === 0) return
    process.stdout.write(`\n Properties (runs, seed; FC_SEED=… repeats one)\n`)
    for (const { name, runs, seed } of rows) {
      process.stdout.write(`${runs.toLocaleString("en-US").padStart(8)}  ${String(seed).padStart(11)}  ${name}\n`)
    }
    process.stdout.write("\n")
  }
}
