/** Merge patches (RFC 7396). */

import type { UpdateFrame } from "./frames";
import { setMember, type Operation } from "./operations";
import * as pointer from "./pointer";
import { isObject, type Json, type JsonObject } from "./values";

/** Return the value after the patch. The input is not modified; the result shares its unchanged members. */
export function mergePatch(target: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else setMember(result, key, mergePatch(pointer.getMember(result, key), value));
  }
  return result;
}

/** Return the operations of an update. */
export function operationsOf({ ops, merge, data }: Pick<UpdateFrame, "ops" | "merge" | "data">): readonly Operation[] {
  if (ops) return ops;
  return merge === undefined ? [["set", "", data]] : mergeOperations(merge);
}

/** Return operations that have the same effect as the patch on every target. */
export function mergeOperations(patch: Json, path = ""): Operation[] {
  if (!isObject(patch)) return [["set", path, patch]];
  const operations: Operation[] = [["obj", path]];
  for (const [key, value] of Object.entries(patch)) {
    const inner = pointer.appendToken(path, key);
    if (value === null) operations.push(["del", inner]);
    else operations.push(...mergeOperations(value, inner));
  }
  return operations;
}
