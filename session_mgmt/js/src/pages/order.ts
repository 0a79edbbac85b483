/** Order of rows, as in the database: keys are compared by the kinds that the server names. */

export type KeyValue = string | number | boolean | null;
export type Key = readonly KeyValue[];

export interface Column {
  field: string;
  descending: boolean;
  kind: "number" | "decimal" | "text" | "boolean" | "unknown";
  /** Place of nulls in the order of the page. */
  nulls: "first" | "last";
}

/** Return a negative number if `a` comes before `b`, a positive one if `a` comes after `b`. */
export function compareKeys(a: Key, b: Key, ordering: readonly Column[]): number {
  for (const [at, column] of ordering.entries()) {
    const order = compareValues(a[at] ?? null, b[at] ?? null, column);
    if (order !== 0) return order;
  }
  return 0;
}

function compareValues(a: KeyValue, b: KeyValue, { descending, kind, nulls }: Column): number {
  if (a === b) return 0;
  if (a === null || b === null) return (a === null) === (nulls === "first") ? -1 : 1;
  const order = kind === "decimal" ? compareDecimals(a, b) : kind === "text" ? compareTexts(`${a}`, `${b}`) : +a - +b;
  return descending ? -order : order;
}

/** Compare by code points, as UTF-8 does; JavaScript compares UTF-16 units. */
function compareTexts(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  if (at === a.length || at === b.length) return a.length - b.length;
  return rankUnit(a.charCodeAt(at)) - rankUnit(b.charCodeAt(at));
}

/** Halves of characters beyond U+FFFF sort after all other units. */
function rankUnit(unit: number): number {
  return unit < 0xd800 || unit > 0xdfff ? unit : unit + 0x10000;
}

function compareDecimals(a: KeyValue, b: KeyValue): number {
  const [[one, scale], [other, otherScale]] = [readDecimal(a), readDecimal(b)];
  const most = Math.max(scale, otherScale);
  const [left, right] = [raise(one, most - scale), raise(other, most - otherScale)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Return a decimal number as an integer, with the number of digits after the point. */
function readDecimal(value: KeyValue): [digits: bigint, scale: number] {
  const [mantissa = "", exponent = "0"] = `${value}`.toUpperCase().split("E");
  const [whole = "", fraction = ""] = mantissa.split(".");
  return [BigInt(whole + fraction), fraction.length - Number(exponent)];
}

function raise(digits: bigint, places: number): bigint {
  return digits * 10n ** BigInt(places);
}
