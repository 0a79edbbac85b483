/** Answers of the REST API about a document and its history (PROTOCOL section 13), in camel case. */

import type { Position, ReceiptFrame } from "./frames";
import type { Json } from "./values";

export interface RestoreOptions {
  /** Restore only if the document is exactly at this position; otherwise reject with `precondition_failed`. */
  ifMatch?: Position;
}

export interface ConflictOptions {
  /** Also list conflicts that are resolved. */
  includeResolved?: boolean;
}

/** Document without its data. */
export interface DocumentHead {
  name: string;
  version: number;
  position: Position;
  lastModified: string;
  /** Client that wrote the newest version; null for the server. */
  lastWriter: string | null;
  /**
   * SHA-256 of the RFC 8785 text at `checksumVersion`, which may be an older version. Opaque if the document is
   * encrypted.
   */
  checksum: string | null;
  checksumVersion: number | null;
  compressed: boolean;
  encrypted: boolean;
  /** Size in bytes as compact JSON; an upper bound. */
  size: number;
}

export interface ClientState extends DocumentHead {
  data: Json;
}

/** Sizes in bytes on the server. */
export interface DocumentSizes {
  version: number;
  /** Size as compact JSON; an upper bound unless `exact`. */
  size: number;
  exact: boolean;
  /** Size of the stored snapshots. */
  stored: number;
  /** Size of the operations in the log. */
  log: number;
  compressed: boolean;
}

export interface HistoryOptions {
  /** Only versions below this one; `next` of the previous page. */
  before?: number;
  limit?: number;
}

/** Version with its origin. */
export interface HistoryEntry {
  version: number;
  tag: string;
  kind: "patch" | "replace" | "clear" | "restore" | "merge";
  at: string;
  /** Client that wrote the version; null for the server. */
  clientId: string | null;
  seq: number | null;
  paths: string[];
  bytes: number;
  labels: string[];
}

/** Versions, newest first. */
export interface HistoryPage {
  results: HistoryEntry[];
  /** Oldest readable version. */
  oldest: number;
  /** `before` of the next page; null on the last page. */
  next: number | null;
}

export interface Checkpoint {
  label: string;
  version: number;
  /** Time of the checkpoint; null in the answer of `persist`. */
  at: string | null;
}

/** Operation of RFC 6902. */
export interface PatchOperation {
  op: "add" | "remove" | "replace" | "move" | "copy" | "test";
  path: string;
  from?: string;
  value?: Json;
}

/** Conflict that the strategy `manual` has kept. Absent values are omitted. */
export interface KeptConflict {
  id: string;
  path: string;
  version: number;
  base?: Json;
  server?: Json;
  client?: Json;
  clientId: string | null;
  at: string;
  resolvedAt: string | null;
  resolution: Keep | null;
}

export type Keep = "server" | "client" | "value";

/** Result of a write. */
export interface UpdateResult {
  version: number;
  position: Position | null;
  /** True if the document already had this value, or if `createIfAbsent` found it written. */
  unchanged: boolean;
  /**
   * Paths of operations that had no effect: another client changed the value, or an `inc` left the range of numbers.
   */
  dropped: string[];
  /** Paths where values of other clients were overwritten. */
  overwrote: string[];
  conflicts: NonNullable<ReceiptFrame["conflicts"]>;
}

export function toUpdateResult(told: Partial<ReceiptFrame>, version: number): UpdateResult {
  return {
    version: told.position?.[1] ?? version,
    position: told.position ?? null,
    unchanged: told.unchanged ?? false,
    dropped: told.dropped ?? [],
    overwrote: told.overwrote ?? [],
    conflicts: told.conflicts ?? [],
  };
}
