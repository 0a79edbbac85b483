/** Checks of what callers give, whatever their compiler has seen: a call refuses it, and nothing fails later for it. */

import { SessionError } from "./errors";

/** Throw `invalid_field` unless something holds of an argument; `words` say what it is to be. */
export function requireThat(holds: boolean, words: string): void {
  if (!holds) throw SessionError.local("invalid_field", `Mend the call: ${words}.`);
}

export function requireFunction(value: unknown, name: string): void {
  requireThat(isFunction(value), `${name} is a function`);
}

export function requireText(value: unknown, name: string): void {
  requireThat(isText(value) && value !== "", `${name} is text, and not empty`);
}

export function isFunction(value: unknown): boolean {
  return typeof value === "function";
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** Return true for a number that is finite and not negative. */
export function isAmount(value: unknown): value is number {
  return Number.isFinite(value) && (value as number) >= 0;
}
