/** Records that a local copy is made of. */

import { isPosition, type Position } from "./frames";
import type { Operation } from "./operations";

export interface Base {
  position: Position;
  /** Last write of each client that is in the value. */
  seqs: Record<string, number>;
}

export interface Entry {
  epoch: string;
  tag: string;
  /** Tag of the entry before. */
  after: string;
  ops: readonly Operation[];
  client: string | null;
  seq: number;
}

/** Records of one document: its base at BASE and BODY, its entries at their versions. */
export type Records = ReadonlyMap<number, unknown>;

export const BASE = -1;
/** Apart from the base's place, so that this can be looked up without reading the whole value. */
export const BODY = 0;

export function isBase(record: unknown): record is Base {
  const { position, seqs } = (record ?? {}) as Partial<Base>;
  return isPosition(position) && typeof seqs === "object" && seqs !== null;
}
