/** Writing without pause, and counting what comes of it. */

import { counted, summary } from "./tally.js";

const EVERY = 40;
// Writes wait in the browser while the network is cut; somewhere it must end.
const MOST_UNANSWERED = 400;

export class Numbers {
  #session;
  #name;
  #memory;
  #changed;
  #timer = null;

  constructor(session, name, memory, changed) {
    this.#session = session;
    this.#name = name;
    this.#memory = memory;
    this.#changed = changed;
    session.topics.subscribe(this.#topic, (data, place) => this.#came(data, place));
  }

  /** Starts or stops; a new run, which has a higher number, begins at 1. */
  write(run, on) {
    this.#enter(run);
    clearInterval(this.#timer);
    this.#timer = on ? setInterval(() => this.#writeOne(), EVERY) : null;
    this.#changed();
  }

  /** What was written and what came, of the present run. */
  report() {
    const { run, sent, seen } = this.#kept;
    const senders = Object.fromEntries(Object.entries(seen).map(([from, count]) => [from, summary(count)]));
    return { run, sent, seen: senders, counter: this.#counter(run) };
  }

  /** What the document says; null before it came. */
  #counter(run) {
    const { state } = this.#session;
    return state.position === null ? null : (state.get(`/written/${run}`) ?? {});
  }

  get #topic() {
    return `demo:numbers:${this.#session.id}`;
  }

  get #kept() {
    return this.#memory.get("numbers", { run: 0, sent: 0, seen: {} });
  }

  #enter(run) {
    if (run > this.#kept.run) this.#memory.set("numbers", { run, sent: 0, seen: {} });
  }

  #writeOne() {
    if (this.#session.pending >= MOST_UNANSWERED) return;
    const kept = this.#kept;
    const n = kept.sent + 1;
    // Kept before it is written, as the SDK keeps the write before it is sent: a reload between the two repeats nothing.
    this.#memory.set("numbers", { ...kept, sent: n });
    this.#session.topics.publish(this.#topic, { run: kept.run, from: this.#name, n });
    this.#session.state.inc(`/written/${kept.run}/${this.#name}`);
    this.#changed();
  }

  #came({ run, from, n }, { offset }) {
    window.dispatchEvent(new CustomEvent("demo:number", { detail: { run, from, n, offset } }));
    // The other client may hear of a new run first.
    this.#enter(run);
    const kept = this.#kept;
    if (run !== kept.run) return;
    this.#memory.set("numbers", { ...kept, seen: { ...kept.seen, [from]: counted(kept.seen[from], n) } });
    this.#changed();
  }
}
