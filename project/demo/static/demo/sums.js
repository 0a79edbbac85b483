/** What the two clients reported, as rows of one table and one verdict. */

/** Rows of the newest run: what each client wrote, as each client saw it, and the counters in the document. */
export function inRows(reports) {
  const run = Math.max(0, ...Object.values(reports).map(({ numbers }) => numbers.run));
  const present = Object.entries(reports).sort(([a], [b]) => a.localeCompare(b)).filter(([, { numbers }]) => run > 0 && numbers.run === run);
  return present.flatMap(([from, { numbers, pending }]) => [
    ...present.map(([to, other]) => topicRow(from, to, numbers.sent, other.numbers.seen[from])),
    counterRow(from, numbers.sent, values(present, from), pending === 0),
  ]);
}

export function verdict(reports) {
  const rows = inRows(reports);
  if (rows.length === 0) return { state: "idle", text: "" };
  const sum = (kind) => rows.reduce((total, { figures }) => total + figures[kind], 0);
  if (sum("missing") + sum("doubled") > 0) {
    return { state: "bad", text: `${sum("missing")} missing, ${sum("doubled")} doubled` };
  }
  const settled = rows.every(({ figures }) => figures.arrived === figures.written);
  if (settled) return { state: "good", text: "All there: nothing lost, nothing doubled" };
  return { state: "waiting", text: "Nothing lost, nothing doubled; some are on their way" };
}

function topicRow(from, to, written, seen = { arrived: 0, doubled: 0, missing: 0 }) {
  return { title: `${from} → ${to}`, figures: { written, ...seen } };
}

/** A counter cannot tell which addition is missing, only how many, once the writer awaits no answer. */
function counterRow(from, written, counters, settled) {
  const arrived = Math.min(...Object.values(counters), written);
  const doubled = Math.max(0, ...Object.values(counters).map((value) => value - written));
  const missing = settled && from in counters ? Math.max(0, written - counters[from]) : 0;
  return { title: `${from}, in state`, figures: { written, arrived, doubled, missing } };
}

/** What each client that has the document shows as `from`'s counter. */
function values(present, from) {
  const known = present.filter(([, { numbers }]) => numbers.counter !== null);
  return Object.fromEntries(known.map(([name, { numbers }]) => [name, numbers.counter[from] ?? 0]));
}
