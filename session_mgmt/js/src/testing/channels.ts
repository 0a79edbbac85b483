/** BroadcastChannels in memory, for several tabs of one browser. */

import type { ChannelLike } from "../environment";

export class FakeChannels {
  /** Decide for each message and receiving tab whether the message is lost. */
  loses: () => boolean = () => false;
  readonly #open = new Set<ChannelLike & { name: string; run(task: () => void): void }>();

  /** Return the constructor for one tab. `run` runs the delivery of a message, or drops it. */
  forTab(run: (task: () => void) => void = (task) => task()): new (name: string) => ChannelLike {
    const browser = this;
    return class FakeChannel implements ChannelLike {
      onmessage: ChannelLike["onmessage"] = null;
      readonly run = run;

      constructor(readonly name: string) {
        browser.#open.add(this);
      }

      postMessage(data: unknown): void {
        const text = JSON.stringify(data);
        if (browser.#open.has(this)) browser.#spread(this, text);
      }

      close(): void {
        browser.#open.delete(this);
      }
    };
  }

  #spread(from: ChannelLike & { name: string }, text: string): void {
    for (const other of this.#open) {
      if (other === from || other.name !== from.name || this.loses()) continue;
      const deliver = (): void => {
        if (this.#open.has(other)) other.onmessage?.({ data: JSON.parse(text) });
      };
      queueMicrotask(() => other.run(deliver));
    }
  }
}
