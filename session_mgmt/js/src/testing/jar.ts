/** Cookies of the browser whose pages the fake server serves (PROTOCOL section 14); no script reads them. */

export class FakeJar {
  /** Token against forgery; a page asks for it, since it reads no cookie either. */
  csrf = "csrf";
  readonly #secrets = new Map<string, string>();

  /** Return the secret of a page's session, by the page's name. */
  find(name: string | null | undefined): string | undefined {
    return this.#secrets.get(name ?? "");
  }

  keep(name: string | null | undefined, secret: string): void {
    this.#secrets.set(name ?? "", secret);
  }

  /** Return true if another site could have made this request as well. */
  isForged(method: string, headers: Headers): boolean {
    const isSafe = method === "GET" || headers.has("Authorization");
    return !isSafe && headers.get("X-CSRFToken") !== this.csrf;
  }
}
