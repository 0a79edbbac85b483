/** Check of the document `main` by the application's own schema (option `schema`). */

import { SessionError } from "./errors";
import type { Json } from "./values";

/** Schema as many libraries define it: `parse` throws if a value does not fit. Its result is not used. */
export interface Schema {
  parse(value: unknown): unknown;
}

/** Return the error if the schema refuses a value, else null. */
export function findMismatch(schema: Schema, value: Json): SessionError | null {
  try {
    schema.parse(value);
    return null;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return SessionError.local("schema_mismatch", `The value does not fit the schema of the page: ${reason}`);
  }
}
