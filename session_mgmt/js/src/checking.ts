/** Checks of the options of a start, also for callers without TypeScript. */

import { isAmount, isFunction, isText } from "./arguments";
import { SessionError } from "./errors";
import type { StartOptions } from "./options";
import { isObject } from "./values";

type Rule = [names: (keyof StartOptions)[], words: string, fits: (value: any) => boolean];

const areAmounts = (...values: unknown[]): boolean => values.every((value) => value === undefined || isAmount(value));

function makeChoice(name: keyof StartOptions, ...choices: string[]): Rule {
  return [[name], `one of ${choices.join(", ")}`, (value) => choices.includes(value)];
}

const TRANSPORTS = ["websocket", "sse", "longpoll"];
const RULES: Rule[] = [
  [["url", "name", "slot"], "text", isText],
  [["user"], "text, a number or null", (value) => isText(value) || Number.isFinite(value)],
  [["headers", "onAsk", "fetch", "random", "WebSocket"], "a function", isFunction],
  makeChoice("share", "browser", "tab"),
  makeChoice("tokenMode", "bearer", "cookie"),
  makeChoice("whenOffline", "wait", "kept"),
  makeChoice("credentials", "same-origin", "include"),
  makeChoice("strategy", "merge", "server_wins", "client_wins", "reject", "manual"),
  [["transports"], `an array of ${TRANSPORTS.join(", ")}`, (value) => Array.isArray(value) && value.length > 0 && value.every((name) => TRANSPORTS.includes(name))],
  [["parts"], "an array of imported parts", (value) => Array.isArray(value) && value.every(isFunction)],
  [["cache"], "indexeddb, or {store: indexeddb}", (value) => (value.store ?? value) === "indexeddb"],
  [["outbox"], "{writes, bytes}, numbers", (value) => isObject(value) && areAmounts(value.writes, value.bytes)],
  [["sync"], "{mode: immediate or delayed, delay, maxDelay}", ({ mode, delay, maxDelay }) => ["immediate", "delayed"].includes(mode) && areAmounts(delay, maxDelay)],
  [["schema"], "an object with a method parse", ({ parse }) => isFunction(parse)],
];

/** Throw `invalid_option` for a wrong option. An option that is null or false counts as not given. */
export function checkOptions(options: StartOptions): void {
  for (const [names, words, fits] of RULES) {
    for (const name of names) {
      const value = options[name] ?? false;
      if (value !== false && !fits(value)) throw SessionError.local("invalid_option", `Mend the call: ${name} is ${words}.`);
    }
  }
  const { tokenMode, share } = options;
  if (tokenMode !== "cookie" || share !== "tab") return;
  throw SessionError.local("invalid_option", "Tabs share a cookie: with `tokenMode` \"cookie\", `share` is \"browser\".");
}
