import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { canonicalText } from "../src/digest";

// Packages that the Python side fetches; `npm test` alone does without them, CI does not.
const folder = new URL("../../../tests/suites/node_modules/@truestamp/canonify/tests/testdata/", import.meta.url);
const missing = !existsSync(folder) && !process.env["CI"];

describe.skipIf(missing)("RFC 8785", () => {
  const names = missing ? [] : readdirSync(new URL("input/", folder));

  test("has six files", () => expect(names).toHaveLength(6));

  test.each(names)("%s has the published bytes", (name) => {
    const value = JSON.parse(readFileSync(new URL(`input/${name}`, folder), "utf8"));
    const published = readFileSync(new URL(`outhex/${name.replace("json", "txt")}`, folder), "utf8");
    expect(Buffer.from(canonicalText(value)).toString("hex")).toBe(published.replace(/\s/g, ""));
  });
});
