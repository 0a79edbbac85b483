/** Files that did not come at the first time. */

import { expect, test } from "vitest";
import { importAgain } from "../src/again";

const asked: string[] = [];
const load = async (address: string): Promise<string> => {
  asked.push(address);
  return "a part";
};

test.each([
  "TypeError: Failed to fetch dynamically imported module: https://shop.test/static/a.js",
  "TypeError: error loading dynamically imported module: https://shop.test/static/a.js",
])("a file is asked for at an address that has not failed, as browsers name the old one (%s)", async (told) => {
  asked.length = 0;
  expect(await importAgain(told, load)).toBe("a part");
  await importAgain(told, load);
  await importAgain(told.replace("a.js", "a.js?v=1"), load);
  expect(new Set(asked.map((address) => address.replace(/\d+$/, "N")))).toEqual(
    new Set(["https://shop.test/static/a.js?again=N", "https://shop.test/static/a.js?v=1?again=N"]),
  );
  expect(new Set(asked).size).toBe(3);
});

test("an error that names no address is the answer", async () => {
  const error = new TypeError("Importing a module script failed.");
  await expect(importAgain(error, load)).rejects.toBe(error);
});
