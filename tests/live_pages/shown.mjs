// A list of the TypeScript SDK, told by lines on stdin what to do and what it should come to show, answers with lines on
// stdout. node shown.mjs URL PATH
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import { SessionClient } from "../../session_mgmt/static/session_mgmt/session-client.js";
import { pages } from "../../session_mgmt/static/session_mgmt/session-client.pages.js";

const say = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);

const session = await SessionClient.start({ url: process.argv[2], transports: ["websocket"] });
const orders = pages(session, new URL(process.argv[3], process.argv[2]).href);
const changes = [];
let look = () => undefined;
orders.on("change", (change) => {
  changes.push(change);
  look();
});

/** Resolve once the list shows what it should; after a minute too, so that the answer says what it shows. */
function come(rows) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 60_000);
    look = () => {
      if (orders.isLoading || !isDeepStrictEqual(orders.rows, rows)) return;
      clearTimeout(timer);
      resolve();
    };
    look();
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const { next, rows } = JSON.parse(line);
  if (next) await orders.loadNext();
  await come(rows);
  const moved = changes.splice(0).flatMap((change) => change.moved);
  say({ rows: orders.rows, moved, hasNext: orders.hasNext, more: orders.more, error: orders.error?.name ?? null });
}
orders.close();
session.close();
