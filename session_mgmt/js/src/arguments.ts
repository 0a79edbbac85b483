/**
 * Checks of arguments, also for callers without TypeScript. A call refuses a wrong argument, so that nothing fails
 * later.
 */

import { SessionError } from "./errors";

/** Throw `invalid_field` if an argument does not hold; `words` say what it must be. */
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

/** Return true for a finite number that is not negative. */
export function isAmount(value: unknown): value is number {
  return Number.isFinite(value) && (value as number) >= 0;
}
