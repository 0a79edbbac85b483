/** Join lists of operations into one that has the same effect on every document, shorter where possible. */

import type { Operation } from "./operations";
import { parse, parseIndex } from "./pointer";
import { normalizeNumber } from "./values";

/**
 * Return `earlier` followed by `later`. A later `set` replaces an earlier one of the same path, and `inc` values are
 * added. For an `inc` beyond the largest integer only the sum decides.
 */
export function coalesceOperations(earlier: readonly Operation[], later: readonly Operation[]): Operation[] {
  const result = [...earlier];
  for (const operation of later) {
    const at = findPartner(result, operation);
    if (at < 0) result.push(operation);
    else result[at] = joinOperations(result[at] as Operation, operation) as Operation;
  }
  return result;
}

/** Return the index of the operation that the new one can be joined with; -1 if there is none. */
function findPartner(operations: readonly Operation[], operation: Operation): number {
  if (operation[0] === "del" || operation[0] === "ins" || operation[1].endsWith("/-")) return -1;
  // An index of an array depends on earlier changes at other indexes.
  const far = parse(operation[1]).every((token) => token !== "-" && parseIndex(token) === null);
  for (let at = operations.length - 1; at >= 0; at -= 1) {
    const other = operations[at] as Operation;
    if (joinOperations(other, operation)) return at;
    if (!far || !canPass(operation, other)) return -1;
  }
  return -1;
}

/** Return true if the order of the two does not matter, or if `obj` still finds an object after the other one. */
function canPass(operation: Operation, other: Operation): boolean {
  const [name, path] = operation;
  if (name === "obj" && other[1].startsWith(`${path}/`)) return true;
  const related = `${other[1]}/`.startsWith(`${path}/`) || `${path}/`.startsWith(`${other[1]}/`);
  // These operations move later items, also in arrays that contain this one.
  return !related && other[0] !== "ins" && other[0] !== "del";
}

function joinOperations(earlier: Operation, later: Operation): Operation | null {
  if (earlier[0] !== later[0] || earlier[1] !== later[1]) return null;
  if (earlier[0] !== "inc" || later[0] !== "inc") return later;
  const sum = normalizeNumber(earlier[2] + later[2]);
  return sum === null ? null : ["inc", later[1], sum];
}
