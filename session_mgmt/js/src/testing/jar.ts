/** Cookies of the browser whose pages the fake server serves (PROTOCOL section 14); no script can read them. */

export class FakeJar {
  /** CSRF token; a page requests it, because it can read no cookie. */
  csrf = "csrf";
  readonly #secrets = new Map<string, string>();

  /** Return the secret of the session of a page, by the page's name. */
  find(name: string | null | undefined): string | undefined {
    return this.#secrets.get(name ?? "");
  }

  keep(name: string | null | undefined, secret: string): void {
    this.#secrets.set(name ?? "", secret);
  }

  /** Return true if another site could have sent this request. */
  isForged(method: string, headers: Headers): boolean {
    const isSafe = method === "GET" || headers.has("Authorization");
    return !isSafe && headers.get("X-CSRFToken") !== this.csrf;
  }
}
