// Every call of the TypeScript SDK's documents, against the server of `test_sdk_calls.py`; prints what they gave.
import { SessionClient } from "../../session_mgmt/static/session_mgmt/session-client.js";

const [url] = process.argv.slice(2);
const store = (values) => {
  const kept = new Map(values);
  return {
    get length() {
      return kept.size;
    },
    key: (at) => [...kept.keys()][at] ?? null,
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
};
const session = await SessionClient.start({
  url,
  WebSocket: class {},
  storage: { local: store([]), session: store([]) },
  autoConnect: false,
});
const state = session.state;
const failed = (promise) => promise.then(() => "nothing", ({ name, code }) => `${name} ${code}`);
const told = {};

async function write(method, data) {
  const address = `${url}sessions/${session.id}/state/main/`;
  const headers = { ...session.auth.headers(), "Content-Type": "application/json" };
  await fetch(address, { method, headers, body: JSON.stringify(data) });
}

await write("PUT", { n: 1, "a/b": "\u20ac" });
told.persisted = await state.persist("before/the sale");
await write("PUT", { n: 2 });
told.documents = await session.documents();
told.info = await state.info();
told.sizes = await state.sizes();
told.history = await state.history({ limit: 1 });
told.older = await state.history({ before: told.history.next });
told.readAt = [await state.readAt(1), await state.readAt("before/the sale")];
told.diff = [await state.diff(1), await state.diff(2, 1)];
told.checkpoints = await state.checkpoints();
told.stale = await failed(state.restore(1, { ifMatch: ["00", 1, "00"] }));
told.restored = await state.restore("before/the sale", { ifMatch: told.info.position });
told.synced = await state.sync();
told.checksums = [await state.checksum(), state.get()];
await state.forget("before/the sale");
told.forgotten = await failed(state.forget("before/the sale"));
told.compressed = await state.compress();
await write("PATCH", { ops: [["set", "/n", 7]], base: 2, strategy: "manual" });
told.conflicts = await state.conflicts();
told.resolved = await state.resolve(told.conflicts[0].id, "client");
told.twice = await failed(state.resolve(told.conflicts[0].id, "server"));
told.decided = [await state.conflicts(), await state.conflicts({ includeResolved: true })];
told.end = await state.readAt(4);
session.close();
console.log(JSON.stringify(told));
