/** A recovery receipt in words. */

const VERDICTS = {
  full: "Everything came back",
  state_only: "The state came back, some messages did not",
  none: "A new client: there was nothing to bring back",
};

/** "31 messages of the chat and 4 changes of the state" */
export function inWords(ranges) {
  const parts = Object.entries(ranges).map(([log, [first, last]]) => phrase(first === null ? null : last - first + 1, kind(log)));
  return parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}` : (parts[0] ?? "nothing");
}

/** What to say first, and its kind. Green only when everything is back, and nothing of this client was overruled. */
export function headline({ verdict }, { pending, overruled, unsent }) {
  if (pending > 0) return ["waiting", `Back; ${count(pending, "change is", "changes are")} on the way to the server`];
  if (unsent > 0) return ["unsent", `${count(unsent, "change", "changes")} could not be sent`];
  if (verdict !== "full") return [verdict, VERDICTS[verdict] ?? verdict];
  if (overruled > 0) return ["overruled", `Everything came back; ${count(overruled, "change", "changes")} met one of the other client`];
  return [verdict, VERDICTS[verdict]];
}

export function sentence(receipt) {
  const lost = Object.keys(receipt.lost).length ? ` Lost: ${inWords(receipt.lost)}.` : "";
  const missed = Object.keys(receipt.replayed).length ? `Missed and brought back: ${inWords(receipt.replayed)}.` : "Nothing was missed.";
  return missed + lost;
}

/** The receipt as elements, with what the server sent at hand. */
export function elements(receipt, facts) {
  const [kind, text] = headline(receipt, facts);
  const title = element("p", "receipt-verdict", text);
  title.dataset.verdict = kind;
  const figures = `${receipt.duration_ms} ms · ${receipt.queries} queries · attachment ${receipt.generation}`;
  const raw = element("details", "raw");
  const sent = element("pre", "", JSON.stringify(receipt, null, 1));
  sent.tabIndex = 0;
  raw.append(element("summary", "", "As the server sent it"), sent);
  return [title, element("p", "", sentence(receipt)), element("p", "facts-line", figures), raw];
}

function phrase(amount, [one, many]) {
  return amount === null ? `an unknown number of ${many}` : `${amount} ${amount === 1 ? one : many}`;
}

function count(amount, one, many) {
  return `${amount} ${amount === 1 ? one : many}`;
}

function kind(log) {
  if (log.startsWith("state:")) return ["change of the state", "changes of the state"];
  if (log.startsWith("topic:demo:chat:")) return ["message of the chat", "messages of the chat"];
  if (log.startsWith("topic:demo:numbers:")) return ["number", "numbers"];
  return ["event of the session", "events of the session"];
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
