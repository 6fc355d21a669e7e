// @ts-check
/** Opens the database: its directory, its pragmas, and the schema of our own tables. */
import Database from "better-sqlite3"
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { isBusy } from "./failure.js"

/**
 * The schema as a list of migrations: entry n takes version n to version n + 1, and `firebreak_meta` has the version.
 * A migration that was published is never edited.
 *
 * `token` counts claims over the whole store, so that a record which was released and claimed anew never meets an old
 * token again. Steps lie in the order in which they came, whichever run they belong to, and are found by a small index
 * of integers: so a commit of many runs' steps touches few pages. That order (`id`) is also the one in which the hashes
 * of a run are chained, for concurrent branches need not end in the order of `seq`.
 */
const migrations = [
  `CREATE TABLE firebreak_action (
     operation TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('started', 'in-doubt', 'completed')), exit TEXT,
     started_at INTEGER NOT NULL, completed_at INTEGER, expires_at INTEGER,
     token INTEGER NOT NULL, owner TEXT, lease_clock TEXT, lease_until INTEGER,
     hash TEXT NOT NULL,
     PRIMARY KEY (operation, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX firebreak_action_expiry ON firebreak_action (expires_at) WHERE expires_at IS NOT NULL;

   CREATE TABLE firebreak_run (
     id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, workflow TEXT NOT NULL, key TEXT NOT NULL,
     payload TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed')), exit TEXT,
     recoveries INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, completed_at INTEGER,
     token INTEGER NOT NULL, owner TEXT, lease_clock TEXT, lease_until INTEGER,
     hash TEXT NOT NULL, exit_hash TEXT
   ) STRICT;
   CREATE INDEX firebreak_run_created ON firebreak_run (created_at);

   CREATE TABLE firebreak_step (
     id INTEGER PRIMARY KEY, run INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, exit TEXT NOT NULL,
     started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, saved_at INTEGER NOT NULL, hash TEXT NOT NULL
   ) STRICT;
   CREATE UNIQUE INDEX firebreak_step_seq ON firebreak_step (run, seq);`,

  // keys get a scope; those there are belong to the default one
  `ALTER TABLE firebreak_action RENAME TO firebreak_action_1;
   DROP INDEX firebreak_action_expiry;
   CREATE TABLE firebreak_action (
     scope TEXT NOT NULL, operation TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('started', 'in-doubt', 'completed')), exit TEXT,
     started_at INTEGER NOT NULL, completed_at INTEGER, expires_at INTEGER,
     token INTEGER NOT NULL, owner TEXT, lease_clock TEXT, lease_until INTEGER,
     hash TEXT NOT NULL,
     PRIMARY KEY (scope, operation, key)
   ) STRICT, WITHOUT ROWID;
   INSERT INTO firebreak_action SELECT '', * FROM firebreak_action_1;
   DROP TABLE firebreak_action_1;
   CREATE INDEX firebreak_action_expiry ON firebreak_action (expires_at) WHERE expires_at IS NOT NULL;`,

  // what a run can do beside steps: start, wait, get signals, have children, be cancelled, die
  `ALTER TABLE firebreak_run RENAME TO firebreak_run_2;
   DROP INDEX firebreak_run_created;
   CREATE TABLE firebreak_run (
     id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, workflow TEXT NOT NULL, version TEXT NOT NULL,
     key TEXT NOT NULL, payload TEXT NOT NULL, parent TEXT,
     status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled', 'dead')), exit TEXT,
     recoveries INTEGER NOT NULL, stalls INTEGER NOT NULL, stalled_at INTEGER NOT NULL,
     deadline_at INTEGER, cancelled TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, completed_at INTEGER,
     token INTEGER NOT NULL, owner TEXT, lease_clock TEXT, lease_until INTEGER,
     hash TEXT NOT NULL, exit_hash TEXT, cancel_hash TEXT
   ) STRICT;
   INSERT INTO firebreak_run
     SELECT id, run_id, workflow, '1', key, payload, NULL, status, exit, recoveries, 0, 0, NULL, NULL,
       created_at, updated_at, completed_at, token, owner, lease_clock, lease_until, hash, exit_hash, NULL
     FROM firebreak_run_2;
   DROP TABLE firebreak_run_2;
   CREATE INDEX firebreak_run_created ON firebreak_run (created_at, run_id);
   CREATE INDEX firebreak_run_running ON firebreak_run (created_at, run_id) WHERE status = 'running';
   CREATE INDEX firebreak_run_parent ON firebreak_run (parent) WHERE parent IS NOT NULL;

   ALTER TABLE firebreak_step ADD COLUMN kind TEXT NOT NULL DEFAULT 'step';
   ALTER TABLE firebreak_step ADD COLUMN branch TEXT NOT NULL DEFAULT 'main';

   CREATE TABLE firebreak_started (
     id INTEGER PRIMARY KEY, run INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, branch TEXT NOT NULL,
     started_at INTEGER NOT NULL, wake_at INTEGER, hash TEXT NOT NULL,
     UNIQUE (run, name)
   ) STRICT;

   CREATE TABLE firebreak_signal (
     run_id TEXT NOT NULL, name TEXT NOT NULL, payload TEXT NOT NULL, sent_at INTEGER NOT NULL, hash TEXT NOT NULL,
     PRIMARY KEY (run_id, name)
   ) STRICT, WITHOUT ROWID;`,

  // the last good values of components
  `CREATE TABLE firebreak_last_good (
     component TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, stored_at INTEGER NOT NULL, hash TEXT NOT NULL,
     PRIMARY KEY (component, key)
   ) STRICT;
   CREATE INDEX firebreak_last_good_age ON firebreak_last_good (component, stored_at, key);`
]

/** How long SQLite itself waits for a lock before the caller may look at its queue again, in milliseconds. */
const slice = 100

/**
 * Makes the directory and those above it. Each new entry is flushed, for a power cut would else lose the whole file
 * with it. (`mkdir` with `recursive` does not flush, and never returns below `/proc`.)
 *
 * @param {string} path
 */
const makeDirectory = (path) => {
  if (existsSync(path)) return
  const parent = dirname(path)
  makeDirectory(parent)
  try {
    mkdirSync(path)
  } catch (error) {
    // another process was faster
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "EEXIST") return
    throw error
  }
  if (process.platform === "win32") return
  const descriptor = openSync(parent, "r")
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** @param {Database.Database} db */
const version = (db) => {
  const known = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'firebreak_meta'").get()
  if (known === undefined) return 0
  return Number(db.prepare("SELECT value FROM firebreak_meta WHERE name = 'schema'").pluck().get())
}

/** @param {Database.Database} db */
const migrate = (db) => {
  const found = version(db)
  if (found > migrations.length) {
    throw new Error(
      `its tables have schema version ${found}, this release of @firebreak/sql knows versions up to ${migrations.length}: use a newer release`
    )
  }
  // only then is the write lock needed
  if (found === migrations.length) return found
  return db.transaction(() => {
    const from = version(db)
    if (from === 0) {
      db.exec(`CREATE TABLE firebreak_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        INSERT INTO firebreak_meta VALUES ('schema', 0), ('token', 0);`)
    }
    for (const migration of migrations.slice(from)) db.exec(migration)
    db.prepare("UPDATE firebreak_meta SET value = ? WHERE name = 'schema'").run(migrations.length)
    return migrations.length
  }).immediate()
}

/** @typedef {{ db: Database.Database, journalMode: string, synchronous: number, schema: number }} Opened */

/**
 * @param {Database.Database} db
 * @returns {Opened}
 */
const configure = (db) => {
  const journalMode = String(db.pragma("journal_mode = WAL", { simple: true }))
  if (journalMode !== "wal") throw new Error(`the file system allows no write-ahead log (journal mode ${journalMode})`)
  // WAL alone means NORMAL, which loses acknowledged commits in a power cut
  db.pragma("synchronous = FULL")
  // macOS: a plain fsync does not reach the medium
  db.pragma("fullfsync = ON")
  const schema = migrate(db)
  return { db, journalMode, synchronous: Number(db.pragma("synchronous", { simple: true })), schema }
}

/**
 * Opens the file, waiting up to `busyTimeout` milliseconds for another process's lock.
 *
 * @template A
 * @param {{ readonly filename: string, readonly busyTimeout: number }} options
 * @param {(db: Database.Database) => A} use what is done first
 * @returns {Opened & { readonly used: A }}
 */
export const open = ({ busyTimeout, filename }, use) => {
  makeDirectory(dirname(resolve(filename)))
  if (statSync(filename, { throwIfNoEntry: false })?.isDirectory() === true) throw new Error("it is a directory")
  const deadline = performance.now() + busyTimeout
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (;;) {
    const db = new Database(filename, { timeout: Math.min(slice, busyTimeout) })
    try {
      const opened = configure(db)
      return { ...opened, used: use(db) }
    } catch (error) {
      db.close()
      if (!isBusy(error) || performance.now() >= deadline) throw error
      // the change to WAL mode reports busy without waiting
      Atomics.wait(pause, 0, 0, 5)
    }
  }
}

/**
 * Opens the file to look at it: nothing is made, brought up to date or written, and any journal mode will do.
 *
 * @template A
 * @param {{ readonly filename: string, readonly busyTimeout: number }} options
 * @param {(db: Database.Database) => A} use what is done first
 * @returns {Opened & { readonly used: A }}
 */
export const openReadOnly = ({ busyTimeout, filename }, use) => {
  if (!existsSync(filename)) throw Object.assign(new Error("there is no such file"), { code: "ENOENT" })
  const db = new Database(filename, { readonly: true, fileMustExist: true, timeout: busyTimeout })
  try {
    const schema = version(db)
    if (schema !== migrations.length) {
      throw new Error(
        `its tables have schema version ${schema}, this release of @firebreak/sql reads version ${migrations.length}: ${
          schema < migrations.length ? "open it as a store first, which brings it up to date" : "use a newer release"
        }`
      )
    }
    const journalMode = String(db.pragma("journal_mode", { simple: true }))
    const synchronous = Number(db.pragma("synchronous", { simple: true }))
    return { db, journalMode, synchronous, schema, used: use(db) }
  } catch (error) {
    db.close()
    throw error
  }
}

/** How long a file that was found is taken to be there, in milliseconds. */
const recheck = 250

/**
 * Tells whether the file at the path is no longer the one that is open. SQLite would write on to a file without a name,
 * which ends with the process. Asked by path: a descriptor of our own would, when closed, drop SQLite's locks.
 *
 * @param {string} filename
 * @returns {() => boolean}
 */
export const watch = (filename) => {
  const path = resolve(filename)
  const { dev, ino } = statSync(path, { bigint: true })
  let checkedAt = performance.now()
  let gone = false
  return () => {
    if (gone || performance.now() - checkedAt < recheck) return gone
    const found = statSync(path, { bigint: true, throwIfNoEntry: false })
    gone = found === undefined || found.ino !== ino || found.dev !== dev
    checkedAt = performance.now()
    return gone
  }
}
