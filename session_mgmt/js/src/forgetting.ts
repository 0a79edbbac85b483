/** Removal of the records that a browser keeps for one address and name. */

import { keysUnder, openDatabase, readRecords, runTransaction } from "./database";
import type { Environment } from "./environment";
import type { ClientRow } from "./outboxStore";

/** Remove the copies and unsent writes of a scope. Resolves when they are gone. */
export async function removeRecords(env: Environment, scope: string): Promise<void> {
  await Promise.all([removeCopies(env, scope), removeOutboxes(env, scope)].map((work) => work.catch(() => undefined)));
}

function removeCopies(env: Environment, scope: string): Promise<void> {
  return useDatabase(env, "session-mgmt", ["copies"], (db) =>
    run(db, (transaction) => void transaction.objectStore("copies").delete(keysUnder([scope]))),
  );
}

function removeOutboxes(env: Environment, scope: string): Promise<void> {
  return useDatabase(env, "session-mgmt-outbox", ["clients", "writes", "adopted", "results"], async (db) => {
    const rows = (await readRecords(db, "clients")).map(([, row]) => row as ClientRow);
    const keys = rows.filter(({ owner }) => owner[0] === scope).map(({ key }) => key);
    await run(db, (transaction) => {
      for (const key of keys) {
        transaction.objectStore("clients").delete(key);
        for (const name of ["writes", "results"]) transaction.objectStore(name).delete(keysUnder([key]));
      }
    });
  });
}

/** Open a database for some work, and close it whether that succeeds or fails. */
async function useDatabase(
  env: Environment,
  name: string,
  stores: readonly string[],
  work: (db: IDBDatabase) => Promise<void>,
): Promise<void> {
  const db = await openDatabase(env, name, stores);
  try {
    await work(db);
  } finally {
    db.close();
  }
}

function run(db: IDBDatabase, work: (transaction: IDBTransaction) => void): Promise<void> {
  return new Promise((resolve) => runTransaction(db, work, () => resolve()));
}
