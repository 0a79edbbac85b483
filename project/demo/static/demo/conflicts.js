/** Changes of this client that did not take effect: both values side by side, and the user decides. */

const part = (id) => document.getElementById(id);

export class Conflicts {
  #session;
  #memory;
  #changed;

  /** `changed` is called with every change that was overruled, or could not be sent. */
  constructor(session, memory, changed) {
    this.#session = session;
    this.#memory = memory;
    this.#changed = changed;
    session.on("conflict", (report) => this.#takeReport(report));
    session.on("unsent", (writes) => this.#takeUnsent(writes));
    this.#show();
  }

  /** Undecided changes by path: `{mine}`, without it if this client had removed the value. */
  get #kept() {
    return this.#memory.get("conflicts", {});
  }

  #takeReport({ conflicts, dropped, overwrote }) {
    for (const { path, kept, client, cut } of conflicts) {
      if (kept === "server") this.#keep(path, cut ? this.#memory.get(`typed:${path}`, undefined) : client);
    }
    for (const path of dropped) this.#keep(path, this.#memory.get(`typed:${path}`, undefined));
    this.#changed("overruled", conflicts.length + dropped.length + overwrote.length);
    this.#show();
  }

  #takeUnsent(writes) {
    for (const { write } of writes) {
      for (const [name, path, value] of write.ops ?? []) if (name === "set") this.#keep(path, value);
    }
    this.#changed("unsent", writes.length);
    this.#show();
  }

  #keep(path, mine) {
    this.#memory.set("conflicts", { ...this.#kept, [path]: mine === undefined ? {} : { mine } });
  }

  #decide(path, takeMine) {
    const { [path]: decided, ...rest } = this.#kept;
    this.#memory.set("conflicts", rest);
    if (takeMine && "mine" in decided) this.#session.state.set(path, decided.mine);
    else if (takeMine) this.#session.state.delete(path);
    this.#show();
  }

  #show() {
    const rows = Object.entries(this.#kept).map(([path, kept]) => this.#newRow(path, kept));
    part("conflicts").hidden = rows.length === 0;
    part("conflict-rows").replaceChildren(...rows);
  }

  #newRow(path, kept) {
    const row = element("li", "conflict");
    row.dataset.path = path;
    const theirs = element("p", "theirs");
    const show = () => (theirs.textContent = inWords(this.#session.state.get(path)));
    show();
    // The other client may go on writing while the user reads.
    const stop = this.#session.state.on(path, () => (row.isConnected ? show() : stop()));
    const buttons = element("div", "line loose");
    buttons.append(button("Take mine", () => this.#decide(path, true)), button("Keep theirs", () => this.#decide(path, false)));
    row.append(
      element("b", "", path === "/note" ? "Note" : path),
      element("span", "whose", "Kept, from the other client"),
      theirs,
      element("span", "whose", "Yours"),
      element("p", "mine", inWords(kept.mine)),
      buttons,
    );
    return row;
  }
}

function inWords(value) {
  if (value === undefined) return "(removed)";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function button(text, click) {
  const made = Object.assign(element("button", "", text), { type: "button" });
  made.addEventListener("click", click);
  return made;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
