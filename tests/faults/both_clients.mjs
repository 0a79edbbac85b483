// The TypeScript SDK against a real server; told by lines on stdin what to do, answers with lines on stdout.
// node both_clients.mjs URL SEED WRITES
import { createInterface } from "node:readline";
import { SessionClient } from "../../session_mgmt/static/session_mgmt/session-client.js";

const [url, seed, writes] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const say = (fact) => process.stdout.write(`${JSON.stringify(fact)}\n`);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// A small generator of our own: Math.random cannot be seeded.
let state = seed;
const draw = (below) => (state = (state * 48271) % 2147483647) % below;

const change = () =>
  [
    [["set", `/shared/${draw(3)}`, draw(100)]],
    [["ins", "/list/-", draw(100)]],
    [["del", `/shared/${draw(3)}`]],
    [["set", "/list", [draw(9), true]]],
    [],
  ][draw(5)];

const client = await SessionClient.start({ url });
const tally = { accepted: 0, refused: 0 };
const answers = [];
say({ token: client.auth.token });
for (let n = 0; n < writes; n += 1) {
  const strategy = ["merge", "server_wins", "client_wins", "reject", "manual"][draw(5)];
  const answer = client.state.update([["inc", "/n/js", 1], ...change()], { strategy });
  answers.push(answer.then(() => (tally.accepted += 1), () => (tally.refused += 1)));
  await pause(draw(12));
}
await Promise.all(answers);
say(tally);
for await (const line of createInterface({ input: process.stdin })) {
  while (client.state.version < Number(line)) await pause(5);
  say({ version: client.state.version, data: client.state.get() });
  break;
}
client.destroy();
