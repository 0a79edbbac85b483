/** One client of the demo: a plain page that uses the SDK. It knows nothing of the buttons that break things. */

import { SessionClient } from "../session_mgmt/session-client.js";
import { Conflicts } from "./conflicts.js";
import { Memory } from "./memory.js";
import { Numbers } from "./numbers.js";
import * as receipts from "./receipt.js";
import { bindChat, bindList, bindNote, bindTogether } from "./parts.js";

const name = document.body.dataset.client;
const part = (id) => document.getElementById(id);

/** Tells the demo's proxy whose connection this is, as a frame's other requests do by their referrer. */
class LabelledSocket extends WebSocket {
  constructor(url, protocols) {
    super(`${url}?via=${name}`, protocols);
  }
}

function tellParent(kind, facts) {
  if (parent !== window) parent.postMessage({ demo: kind, name, ...facts }, location.origin);
}

function notice(text) {
  part("notice").textContent = text;
  part("notice").hidden = false;
}

async function start() {
  const session = await SessionClient.start({
    url: "/api/",
    // Both frames are in one tab, and so share its storage.
    slot: name,
    WebSocket: LabelledSocket,
    // Only sockets carry the label by which one client's network is cut; HTTP would lead around the cut.
    transports: ["websocket"],
    // So that what the page follows is part of the first connection already.
    autoConnect: false,
  });
  const memory = new Memory(name, session.id);
  const numbers = new Numbers(session, name, memory, soon(() => report(session, numbers)));
  bindList(session);
  bindNote(session, memory);
  bindTogether(session, name);
  bindChat(session, name, memory);
  watch(session, numbers, memory);
  listenToParent(numbers);
  // Asks oftener than the server does, so that nobody waits long to see a cut noticed.
  session.connection.setupHeartbeat(2);
  void session.connection.connect();
}

function watch(session, numbers, memory) {
  const tell = soon(() => report(session, numbers));
  const found = () => memory.get("receipt", { receipt: null, settled: true, overruled: 0, unsent: 0 });
  const answered = () => session.stats().receipts + session.stats().refusals;
  let awaited = Infinity;
  const change = (facts) => {
    memory.set("receipt", { ...found(), ...facts });
    show();
  };
  const show = () => {
    // Once what waited has its answers, later writes are not part of this recovery.
    const isSettled = session.pending === 0 || answered() >= awaited;
    if (isSettled && session.status === "connected" && !found().settled) return change({ settled: true });
    showReceipt(found(), session.pending);
  };
  session.on("status", (status, reason) => {
    part("status").dataset.status = status;
    part("status").textContent = reason && status !== "connected" ? `${status} (${reason.name.replaceAll("_", " ")})` : status;
    if (status === "reconnecting") change({ overruled: 0, unsent: 0 });
    tellParent("event", { what: status, reason: reason?.name ?? null, pending: session.pending });
    tell();
  });
  session.on("recovery", (receipt) => {
    awaited = answered() + session.pending;
    change({ receipt, settled: false });
    tellParent("event", { what: "recovery", text: receipts.sentence(receipt), verdict: receipt.verdict });
  });
  session.on("pending", show);
  new Conflicts(session, memory, (kind, amount) => {
    change({ [kind]: found()[kind] + amount });
    tellParent("event", { what: kind, amount });
  });
  session.on("unsent", (writes, reason) => notice(`${writes.length} changes could not be sent any more: ${reason}.`));
  session.on("gap", ({ log, reason }) => notice(`Entries of ${log} are gone for good: ${reason}.`));
  session.state.onStateChange((_, { version }) => {
    window.dispatchEvent(new CustomEvent("demo:version", { detail: { version } }));
    tell();
  });
  show();
  // Round trip and number of unanswered writes have no event of their own.
  setInterval(tell, 500);
}

/** Show the last receipt, with what has become of this client's own changes since. */
function showReceipt({ receipt, settled, overruled, unsent }, pending) {
  // A page that begins has not recovered from anything.
  if (!receipt || receipt.reason === "new_client") return;
  const [title, ...rest] = receipts.elements(receipt, { pending: settled ? 0 : pending, overruled, unsent });
  const shown = part("receipt");
  if (shown.dataset.id !== String(receipt.id)) shown.replaceChildren(title, ...rest);
  else if (shown.firstElementChild.textContent !== title.textContent) shown.firstElementChild.replaceWith(title);
  shown.dataset.id = receipt.id;
}

function report(session, numbers) {
  const { last_ms: last } = session.stats().latency;
  part("pending").textContent = session.pending;
  part("pending").dataset.some = session.pending > 0;
  part("version").textContent = session.state.version;
  part("rtt").textContent = last === null ? "–" : `${last.toFixed(1)} ms`;
  tellParent("report", { status: session.status, pending: session.pending, numbers: numbers.report() });
}

function listenToParent(numbers) {
  addEventListener("message", ({ origin, data }) => {
    if (origin === location.origin && data?.demo === "write") numbers.write(data.run, data.on);
  });
  new ResizeObserver(([{ target }]) => tellParent("height", { height: target.scrollHeight })).observe(document.body);
  tellParent("hello", {});
}

/** Calls `work` once for many calls in a short time. */
function soon(work) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, 50);
  };
}

start().catch((error) => {
  part("status").dataset.status = "failed";
  part("status").textContent = "failed";
  notice(`No session could be had: ${error.message} Reload to try again.`);
});
