/** Names as parts of addresses, for the parts of the client that ask for them: each has its own copy. */

import { requireText, requireThat } from "./arguments";

/** Return a name as a part of an address. Throws for one that would lead elsewhere, as `..` does. */
export function encodePart(value: string, name: string): string {
  requirePart(value, name);
  return encodeURIComponent(value);
}

/** Throw for a name that no address can hold: browsers resolve `.` and `..`, encoded ones too. */
export function requirePart(value: string, name: string): void {
  requireText(value, name);
  requireThat(!value.split("/").some((part) => part === "." || part === ".."), `${name} has no part . or ..`);
}
