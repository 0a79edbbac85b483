/** Imports of the source: they only go down, also those of types and those that load a part on demand. */

import { readFileSync, readdirSync, existsSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

const SOURCE = join(__dirname, "../src");

/** Return the modules that a module imports, by their paths below the source. */
function listImports(module: string): string[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(join(SOURCE, module), "utf8"));
  const requests = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith("."));
  return requests.map((request) => {
    const path = normalize(join(dirname(module), request));
    const found = [`${path}.ts`, join(path, "index.ts")].find((file) => existsSync(join(SOURCE, file)));
    if (!found) throw new Error(`${module} imports ${request}, which is no module of the source.`);
    return found;
  });
}

/** Return the modules that are left once those without an import among the rest are taken away, again and again. */
function findCircles(imports: Map<string, string[]>): string[] {
  const left = new Map(imports);
  for (;;) {
    const lowest = [...left].filter(([, imported]) => !imported.some((module) => left.has(module)));
    if (!lowest.length) return [...left.keys()];
    for (const [module] of lowest) left.delete(module);
  }
}

test("no module imports one that imports it, also through others", () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  const imports = new Map(files.map((file) => [relative("", file), listImports(file)]));
  expect(imports.size).toBeGreaterThan(100);
  expect(findCircles(imports)).toEqual([]);
});

test("a circle is found, also of a type", () => {
  expect(findCircles(new Map([["a", ["b"]], ["b", ["c"]], ["c", ["b"]], ["d", []]]))).toEqual(["a", "b", "c"]);
});
