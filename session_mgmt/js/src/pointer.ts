/** JSON pointers (RFC 6901). */

import { SessionError } from "./errors";
import { isObject, type Json } from "./values";

const INDEX = /^(?:0|[1-9][0-9]{0,9})$/;

/** Return the tokens of a pointer; `""` is the root, `"/"` the empty key. Throws `invalid_path`. */
export function parse(path: string): string[] {
  if (path === "") return [];
  if (typeof path !== "string") throw SessionError.local("invalid_path", "A path must be text, such as /cart/items.");
  if (!path.startsWith("/")) throw SessionError.local("invalid_path", `The path ${path} must start with a slash.`);
  if (/~(?![01])/.test(path)) throw SessionError.local("invalid_path", `In the path ${path} write ~ as ~0.`);
  // ~1 first, else "~01" would become "/" (RFC 6901 section 4).
  return path.slice(1).split("/").map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Return the array index of a token (RFC 6901 section 4: digits, no leading zero); null if it is not an index. */
export function parseIndex(token: string): number | null {
  return INDEX.test(token) ? Number(token) : null;
}

export function appendToken(path: string, token: string): string {
  return `${path}/${token.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** Return the value at the tokens; undefined if there is none. */
export function getValue(root: Json, tokens: readonly string[]): Json | undefined {
  let node = root;
  for (const token of tokens) {
    node = getMember(node, token);
    if (node === undefined) return undefined;
  }
  return node;
}

/** Return a member or item; undefined if there is none. Inherited members are never read. */
export function getMember(node: Json, token: string): Json | undefined {
  if (Array.isArray(node)) {
    const at = parseIndex(token);
    return at === null ? undefined : node[at];
  }
  return isObject(node) && Object.hasOwn(node, token) ? node[token] : undefined;
}
