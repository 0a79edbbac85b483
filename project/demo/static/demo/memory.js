/** What this page keeps over a reload, beside what the SDK keeps: sessionStorage under the client's and the session's names. */

export class Memory {
  #prefix;

  constructor(client, session) {
    this.#prefix = `demo:${client}:${session}:`;
  }

  get(name, otherwise) {
    const text = sessionStorage.getItem(this.#prefix + name);
    return text === null ? otherwise : JSON.parse(text);
  }

  set(name, value) {
    sessionStorage.setItem(this.#prefix + name, JSON.stringify(value));
  }
}
