/** The parts of a client that a user touches, each bound to the SDK. */

const part = (id) => document.getElementById(id);

const MOST_LINES = 40;

/** The list: one member of `/items` each, so that clients that add at the same time do not collide. */
export function bindList(session) {
  const rows = new Map();
  part("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = part("item").value.trim();
    if (!text) return;
    session.state.set(`/items/${freshKey()}`, { text, done: false });
    part("item").value = "";
  });
  session.state.on("/items", (items = {}) => {
    for (const [key, row] of rows) if (!items[key]) row.remove();
    for (const key of rows.keys()) if (!items[key]) rows.delete(key);
    for (const key of Object.keys(items).sort()) {
      if (!rows.has(key)) rows.set(key, newRow(session, key));
      fillRow(rows.get(key), items[key]);
      part("items").append(rows.get(key));
    }
    part("no-items").hidden = rows.size > 0;
  });
}

function newRow(session, key) {
  const row = document.createElement("li");
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox" });
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×", className: "quiet" });
  box.addEventListener("change", () => session.state.set(`/items/${key}/done`, box.checked));
  remove.addEventListener("click", () => session.state.delete(`/items/${key}`));
  label.append(box, document.createElement("span"));
  row.append(label, remove);
  return row;
}

function fillRow(row, { text, done }) {
  row.querySelector("span").textContent = text;
  row.querySelector("input").checked = done;
  row.querySelector("button").setAttribute("aria-label", `Remove ${text}`);
}

/** Keys that sort by the time they were made. */
function freshKey() {
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
}

/** The note: the whole text is one value, written at every key. What is typed is kept until it is decided (`Conflicts`). */
export function bindNote(session, memory) {
  const note = part("note");
  note.addEventListener("input", () => {
    memory.set("typed:/note", note.value);
    session.state.set("/note", note.value);
  });
  session.state.on("/note", (text = "") => {
    if (note.value === text) return;
    const { selectionStart, selectionEnd } = note;
    note.value = text;
    note.setSelectionRange(Math.min(selectionStart, text.length), Math.min(selectionEnd, text.length));
  });
}

/** A counter that both add to, and a question that the server answers once. */
export function bindTogether(session, name) {
  session.state.on("/count", (count = 0) => (part("count").value = count));
  part("plus").addEventListener("click", () => session.state.inc("/count"));
  part("dice").addEventListener("click", async () => {
    part("answer").textContent = "Asking the server …";
    try {
      const { thrown, process } = await session.send({ name: `Client ${name}` });
      part("answer").textContent = `Process ${process} rolled a ${thrown}.`;
    } catch (error) {
      part("answer").textContent = `The server refused: ${error.message}`;
    }
  });
}

/** The chat: what is said shows at once, as waiting until it comes back as an entry of the topic. */
export function bindChat(session, name, memory) {
  const topic = `demo:chat:${session.id}`;
  const waiting = () => memory.get("said", []);
  for (const line of memory.get("chat", [])) showLine(line, name);
  for (const line of waiting()) showLine(line, name, "waiting");
  const takeLine = (line) => {
    memory.set("said", waiting().filter(({ id }) => id !== line.id));
    part("chat").querySelector(`[data-id="${line.id}"]`)?.remove();
    memory.set("chat", [...memory.get("chat", []), line].slice(-MOST_LINES));
    showLine(line, name);
  };
  // A new tab begins an hour ago; one that was here before goes on where it was.
  session.topics.subscribe(topic, takeLine, { since: { time: new Date(Date.now() - 3_600_000) } });
  part("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = part("words").value.trim();
    part("words").value = "";
    if (!text) return;
    const line = { id: freshKey(), from: name, text };
    memory.set("said", [...waiting(), line]);
    showLine(line, name, "waiting");
    session.topics.publish(topic, line).catch(() => {
      const shown = part("chat").querySelector(`[data-id="${line.id}"]`);
      if (shown) shown.dataset.state = "not sent";
    });
  });
}

function showLine({ id, from, text }, name, state = null) {
  const line = document.createElement("li");
  if (state !== null) Object.assign(line.dataset, { id, state });
  line.dataset.from = from === name ? "me" : from === "server" ? "server" : "other";
  const who = Object.assign(document.createElement("b"), { textContent: from === "server" ? "Server" : `Client ${from}` });
  line.append(who, ` ${text}`);
  const chat = part("chat");
  chat.append(line);
  while (chat.children.length > MOST_LINES) chat.firstElementChild.remove();
  chat.scrollTop = chat.scrollHeight;
}
