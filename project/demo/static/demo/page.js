/** The page around the two clients: the buttons that break things, and the count of what came of it. */

import { inRows, verdict } from "./sums.js";

const part = (id) => document.getElementById(id);
const frames = new Map([...document.querySelectorAll(".client-frame")].map((frame) => [frame.dataset.client, frame]));
const reports = new Map();
let writing = { run: 0, on: false };
let broken = new Set();

const LOOK_EVERY = 1000;
const MOST_LINES = 60;

async function control(verb, wish) {
  const options = wish ? { method: "POST", body: JSON.stringify(wish) } : {};
  const response = await fetch(`/demo-control/${verb}`, options);
  if (response.ok) showStatus(await response.json());
  return response.status;
}

function showStatus({ cut, places, rolling, servers }) {
  broken = new Set(cut);
  for (const [name, frame] of frames) {
    const button = frame.querySelector("[data-cut]");
    button.setAttribute("aria-pressed", broken.has(name));
    button.textContent = broken.has(name) ? "Mend the network" : "Cut the network";
    frame.dataset.cut = broken.has(name);
  }
  part("server").dataset.up = servers.every(({ up }) => up);
  if (servers.length > 1) return showFleet(places, rolling, servers);
  const [{ up, pid, kills }] = servers;
  part("server").textContent = up ? `Server is process ${pid}${times(kills)}` : "Server is dead; another is being started …";
}

const times = (kills) => (kills ? `, killed ${kills} ×` : "");

/** Several servers: a button to kill each, and at each client the one that it is on. */
function showFleet(places, rolling, servers) {
  if (part("roll").hidden) {
    const [first, ...others] = servers;
    part("kill").textContent = `Kill server ${first.name}`;
    part("kill").dataset.server = first.name;
    for (const { name } of others) part("kills").append(newKill(name));
    part("roll").hidden = part("roll-truth").hidden = false;
  }
  part("roll").disabled = rolling;
  part("roll").textContent = rolling ? "Restarting …" : "Restart both in turn";
  part("server").textContent = servers
    .map(({ name, up, pid, starts, kills }) => `${name} ${up ? `is process ${pid}` : "is being started"}, start ${starts}${times(kills)}`)
    .join(" · ");
  for (const [name, frame] of frames) {
    const place = places[name] ?? "";
    const shown = frame.querySelector("[data-place]");
    if (place && shown.dataset.place && shown.dataset.place !== place) tell(`Client ${name} moved from server ${shown.dataset.place} to ${place}.`);
    // Who has no connection has a place again soon.
    shown.dataset.place = place || shown.dataset.place;
    shown.textContent = place ? `on server ${place}` : "on no server";
  }
}

function newKill(name) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "danger", textContent: `Kill server ${name}` });
  button.dataset.server = name;
  return button;
}

async function look() {
  // Who runs this page on a real bad network should not lose the buttons.
  const status = await control("status").catch(() => 0);
  if (status !== 404) return void setTimeout(look, LOOK_EVERY);
  part("server").textContent = "Cutting and killing work only under “make demo”.";
  for (const button of document.querySelectorAll("#kills button, #roll, [data-cut]")) button.disabled = true;
}

function tell(text, kind = "") {
  const line = document.createElement("li");
  const time = Object.assign(document.createElement("time"), { textContent: new Date().toLocaleTimeString("en-GB") });
  line.append(time, ` ${text}`);
  line.dataset.kind = kind;
  part("story").prepend(line);
  while (part("story").children.length > MOST_LINES) part("story").lastElementChild.remove();
}

function showTally() {
  const all = Object.fromEntries(reports);
  part("tally").replaceChildren(
    ...inRows(all).map(({ title, figures }) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: title }));
      for (const [kind, figure] of Object.entries(figures)) {
        const cell = Object.assign(document.createElement("td"), { textContent: figure });
        if (figure > 0) cell.dataset.kind = kind;
        row.append(cell);
      }
      return row;
    }),
  );
  part("no-tally").hidden = part("tally").children.length > 0;
  const { state, text } = verdict(all);
  if (part("verdict").textContent !== text) part("verdict").textContent = text;
  part("verdict").dataset.state = state;
}

function order(name) {
  frames.get(name).querySelector("iframe").contentWindow.postMessage({ demo: "write", ...writing }, location.origin);
}

const heard = {
  hello: ({ name }) => writing.run && order(name),
  height: ({ name, height }) => (frames.get(name).querySelector("iframe").style.height = `${height}px`),
  report: ({ name, ...report }) => {
    reports.set(name, report);
    showTally();
  },
  event: ({ name, what, reason, text, verdict, pending, amount }) => {
    if (what === "recovery" && verdict !== "none") tell(`Client ${name} is back. ${text}`, verdict === "full" ? "good" : "bad");
    if (what === "overruled") tell(`Client ${name} and the other one changed the same: ${amount} ×. Both texts are shown.`, "bad");
    if (what === "unsent") tell(`${amount} changes of client ${name} could not be sent.`, "bad");
    if (what === "reconnecting") tell(`Client ${name} lost its connection (${reason.replaceAll("_", " ")}), ${pending} writes unanswered.`, "bad");
    if (what === "failed") tell(`Client ${name} gave up: ${reason}.`, "bad");
  },
};

addEventListener("message", ({ origin, data }) => {
  if (origin === location.origin && frames.has(data?.name)) heard[data.demo]?.(data);
});

part("write").addEventListener("click", () => {
  const on = !writing.on;
  writing = { run: on ? Date.now() : writing.run, on };
  part("write").setAttribute("aria-pressed", on);
  part("write").textContent = on ? "Stop writing" : "Write without pause";
  for (const name of frames.keys()) order(name);
  tell(on ? "Both clients write without pause." : "Both clients stop writing.");
});

part("kills").addEventListener("click", async ({ target }) => {
  if (!target.matches("button")) return;
  const { server } = target.dataset;
  const unanswered = [...reports.values()].reduce((sum, { pending }) => sum + pending, 0);
  tell(`You kill ${server ? `server ${server}` : "the server"}${unanswered ? `; ${unanswered} writes are unanswered` : ""}.`, "bad");
  await control("kill", server ? { server } : {});
});

part("roll").addEventListener("click", async () => {
  tell("You restart both servers, one after the other.");
  await control("roll", {});
});

/** A frame whose page was lost under way shows the browser's own error page, which nobody may read: try again. */
function isLost(iframe) {
  return !iframe.contentDocument?.body?.dataset.client;
}

for (const [name, frame] of frames) {
  const iframe = frame.querySelector("iframe");
  iframe.addEventListener("load", () => isLost(iframe) && setTimeout(() => (iframe.src = iframe.src), LOOK_EVERY));
  frame.querySelector("[data-cut]").addEventListener("click", async () => {
    const verb = broken.has(name) ? "mend" : "cut";
    tell(
      verb === "cut" ? `You cut the network of client ${name}; nobody is told.` : `You mend the network of client ${name}.`,
      verb === "cut" ? "bad" : "",
    );
    await control(verb, { clients: [name] });
  });
  frame.querySelector("[data-reload]").addEventListener("click", () => {
    tell(`You reload client ${name}.`);
    iframe.contentWindow.location.reload();
  });
}

look();
