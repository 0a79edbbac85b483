// The TypeScript SDK on a session whose database is put back to a backup; told by lines on stdin what to do, answers
// with lines on stdout. node restored.mjs URL
import { createInterface } from "node:readline";
import { SessionClient } from "../../session_mgmt/static/session_mgmt/session-client.js";

const say = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const client = await SessionClient.start({ url: process.argv[2] });
const conflicts = [];
client.on("conflict", (told) => conflicts.push(...told.conflicts));
await client.state.set("/a", "old");
say({ token: client.auth.token });
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "write") {
    const answers = [client.state.set("/a", "js"), client.state.set("/own/js", 1)];
    say({ pending: client.pending });
    await Promise.all(answers);
    say({ conflicts });
  } else if (line === "leave") break;
  else {
    while (client.state.version < Number(line)) await pause(5);
    say({ data: client.state.get() });
  }
}
client.destroy();
