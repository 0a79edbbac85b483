// Most bytes that each script may have, minified and with gzip. A script that is not listed has no place yet: give it a
// budget, and keep it.

import { gzipSync } from "node:zlib";

const KIB = 1024;

const BUDGETS = {
  // It chooses what carries it.
  "session-client.js": 26.5 * KIB,
  "session-client.copies.js": 2.75 * KIB,
  "session-client.sending.js": 2 * KIB,
  "session-client.digests.js": 1.75 * KIB,
  "session-client.changes.js": 4 * KIB,
  "session-client.substitutes.js": 0.75 * KIB,
  "session-client.debug.js": 8 * KIB,
  "session-client.batch.js": 1.5 * KIB,
  "session-client.react.js": 2.5 * KIB,
  "session-client.requests.js": 3 * KIB,
  "session-client.outboxes.js": 3 * KIB,
  "session-client.http.js": 7.25 * KIB,
  "session-client.tabs.js": 3.5 * KIB,
  // It has a server that speaks both ways.
  "session-client.testing.js": 12.5 * KIB,
};
/** All of it in one script, for pages without modules. */
const CLASSIC = "session-client.classic.js";

/** Return the size of each script, and what is wrong with them. */
export function checkBudgets(files) {
  const scripts = [...files].filter(([name]) => name.endsWith(".js") && name !== CLASSIC);
  const sizes = scripts.map(([name, text]) => [name, gzipSync(text, { level: 9 }).length]);
  const faults = sizes.flatMap(([name, bytes]) => judge(name, bytes, BUDGETS[name.replace(/-\d+\.\d+\.\d+/, "")]));
  return { sizes, faults };
}

function judge(name, bytes, most) {
  if (most === undefined) return [`${name} has no budget in scripts/budgets.mjs`];
  return bytes > most ? [`${name} has ${bytes} bytes with gzip; its budget is ${most}`] : [];
}
