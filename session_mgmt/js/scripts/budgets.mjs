// Largest number of bytes of each script, minified and with gzip: its size when the number was written, and one percent.
// A script without a number fails the build: give it a budget, and keep to it.

import { gzipSync } from "node:zlib";

const BUDGETS = {
  // It contains the choice of the transport.
  "session-client.js": 20_000,
  "session-client.content.js": 10_990,
  "session-client.copies.js": 2_640,
  "session-client.sending.js": 1_570,
  "session-client.changes.js": 4_110,
  "session-client.substitutes.js": 970,
  "session-client.debug.js": 2_500,
  "session-client.batch.js": 1_950,
  "session-client.pages.js": 5_010,
  "session-client.react.js": 1_000,
  "session-client.requests.js": 3_260,
  "session-client.outboxes.js": 2_880,
  "session-client.http.js": 7_950,
  "session-client.tabs.js": 3_340,
  // It contains a server for both transports.
  "session-client.testing.js": 12_650,
};
/** The whole client in one script, for pages without modules. */
const CLASSIC = "session-client.classic.js";

/** Return the size of each script, and the faults. */
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
