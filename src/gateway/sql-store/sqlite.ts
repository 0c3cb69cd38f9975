import { CamelCasePlugin, Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely';
import Libsql from 'libsql';
import { Failure, systemCode } from '../../support/failures.ts';
import type { Spelling } from './migrations.ts';
import type { Schema } from './schema.ts';

/** All that is particular to SQLite: another database is another file like this one. */
export const SQLITE_SPELLING: Spelling = {
  integer: 'integer',
  counter: 'integer primary key autoincrement',
  end: 'strict',
};

/** Another program, a person's sqlite3 for example, may hold the file for a moment. */
const BUSY_TIMEOUT_MS = 2000;
/** More than the store has; what comes by seldom, with lists of many lengths, pushes out the oldest. */
const MAX_STATEMENTS = 100;

/** An open database: queries through `kysely`, SQLite's own words through `column` and `exec`. */
export interface Sqlite {
  readonly kysely: Kysely<Schema>;
  /** The first column of each row that a statement gives. */
  column(text: string): unknown[];
  exec(text: string): void;
  close(): void;
}

/** Opens the file, or `:memory:`, with nothing set but what is never to be otherwise. */
export function openFile(path: string): Sqlite {
  const connection = new Connection(path);
  return {
    kysely: new Kysely<Schema>({
      dialect: new SqliteDialect({ database: connection }),
      plugins: [new CamelCasePlugin()],
    }),
    column: (text) => connection.column(text),
    exec: (text) => connection.exec(text),
    close: () => connection.close(),
  };
}

/**
 * libsql as kysely wants it. It keeps the statements: libsql frees one only when its object is collected, and a busy
 * gateway would grow by hundreds of MB until then. And it looks at what is bound: libsql ends the whole process at a
 * boolean, makes null of a list or NaN, and reads a text only up to its first NUL.
 */
class Connection implements SqliteDatabase {
  readonly #database: Libsql.Database;
  /** The least recently used first. */
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(path: string) {
    this.#database = new Libsql(path, { timeout: BUSY_TIMEOUT_MS });
    // Before anything reads: nobody else, and no file of shared memory, for which a full disk has no room.
    this.exec('PRAGMA locking_mode = EXCLUSIVE');
    this.exec('PRAGMA foreign_keys = ON');
    this.exec('PRAGMA synchronous = FULL');
    this.exec('PRAGMA trusted_schema = OFF');
    this.exec('PRAGMA cell_size_check = ON');
  }

  prepare(text: string): SqliteStatement {
    // A full disk ends the transaction by itself, and kysely's rollback after it would hide why.
    if (text === 'rollback' && !this.#database.inTransaction) return NOTHING;
    const statement = this.#statements.get(text) ?? checked(this.#database.prepare(text));
    this.#statements.delete(text);
    this.#statements.set(text, statement);
    if (this.#statements.size > MAX_STATEMENTS) {
      for (const oldest of this.#statements.keys()) {
        this.#statements.delete(oldest);
        break;
      }
    }
    return statement;
  }

  column(text: string): unknown[] {
    return this.#database
      .prepare(text)
      .all()
      .map((row) => Object.values(row as object)[0]);
  }

  exec(text: string): void {
    this.#database.exec(text);
  }

  close(): void {
    if (!this.#database.open) return;
    this.#statements.clear();
    this.#database.close();
  }
}

const NOTHING: SqliteStatement = {
  reader: false,
  all: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 }),
  iterate: () => [].values(),
};

function checked(statement: Libsql.Statement): SqliteStatement {
  const { reader } = statement;
  const bindable = (values: readonly unknown[]) => {
    for (const value of values) refuseUnbindable(value);
    return values;
  };
  return {
    reader,
    all: (values) => statement.all(bindable(values)),
    run: (values) => statement.run(bindable(values)),
    iterate: (values) => statement.iterate(bindable(values)),
  };
}

function refuseUnbindable(value: unknown): void {
  if (value === null || (typeof value === 'number' && Number.isFinite(value))) return;
  if (typeof value === 'string' && !value.includes('\0')) return;
  throw new TypeError(`the database cannot keep ${typeof value === 'string' ? 'a text with NUL' : typeof value}`);
}

/** Whether the file itself is at fault, rather than the disk, the permissions or the moment. */
export function isDamage(error: unknown): boolean {
  return /^SQLITE_(CORRUPT|NOTADB|FORMAT)/.test(systemCode(error) ?? '');
}

const REASONS: readonly [RegExp, string][] = [
  [/^SQLITE_FULL/, 'the disk is full'],
  [/^SQLITE_READONLY|^SQLITE_PERM|^SQLITE_AUTH/, 'the disk or the file is read-only'],
  [/^SQLITE_CANTOPEN/, 'a file of it cannot be opened or made'],
  [/^SQLITE_IOERR/, 'the disk reports an error'],
  [/^SQLITE_NOMEM/, 'there is no memory left'],
  [/^SQLITE_(BUSY|LOCKED)/, 'another program has locked it'],
  [/^SQLITE_(CORRUPT|NOTADB)/, 'it is damaged; a restart sets it aside'],
];

/** What a person is told of an error of SQLite; what was to be done was not done. */
export function sqliteFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const code = systemCode(error) ?? '';
  const message = error instanceof Error ? error.message : String(error);
  // A rule of the tables, or of what can be bound, was broken: the store looks first, so this is a fault of ours.
  const isOurs = error instanceof TypeError || code.startsWith('SQLITE_CONSTRAINT') || code === 'SQLITE_ERROR';
  if (isOurs) return new Failure('internal.unexpected', `the database refused: ${message}`, { cause: error });
  const reason = REASONS.find(([pattern]) => pattern.test(code))?.[1];
  const why = reason === undefined ? message : `${reason} (${code})`;
  return new Failure('gateway.store-failed', `the database could not be used: ${why}`, { cause: error });
}
