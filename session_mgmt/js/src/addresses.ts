/** Names as parts of addresses. Each part of the client that makes addresses has its own copy of this module. */

import { requireText, requireThat } from "./arguments";

/** Encode a name as a part of an address. Throws for a name that would lead to another address, such as `..`. */
export function encodePart(value: string, name: string): string {
  requirePart(value, name);
  return encodeURIComponent(value);
}

/** Throw for a name that cannot be a part of an address: browsers resolve `.` and `..`, also if they are encoded. */
export function requirePart(value: string, name: string): void {
  requireText(value, name);
  requireThat(!value.split("/").some((part) => part === "." || part === ".."), `${name} has no part . or ..`);
}
