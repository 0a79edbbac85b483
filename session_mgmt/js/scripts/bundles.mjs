// Text of every file of the package, by name. The same sources give the same bytes: no time, path or version of the
// machine is in them.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";
import { AROUND_PART, findParts, findShared, listModules, loadFromFiles, returnExports, takeFromClient } from "./parts.mjs";
import { PART_TYPINGS, writeTypings } from "./typings.mjs";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const { version: VERSION } = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));
const BANNER = `/*! session_mgmt browser client ${VERSION}, BSD-3-Clause. Built from session_mgmt/js; do not edit. */`;

/** Comments that stay: the banner, and those that tell bundlers to leave an import alone. */
const FOR_OTHERS = /^!|@vite-ignore|webpackIgnore/;

const CLIENT = "src/index.ts";
/** Parts that are also entries of the package, for pages that include them in their own scripts. */
const PART_ENTRIES = ["content", "http", "copies", "tabs", "debug"];
/** More entries of the package. Each is a file of its own, which imports only types from the client. */
const ENTRIES = ["testing", "react", "pages"];

function nameFile(part) {
  return `session-client.${part}-${VERSION}.js`;
}

/** Return the settings of a script for esbuild. */
function settle({ name, entry, options }) {
  const { banner = "", ...others } = options;
  return {
    absWorkingDir: ROOT,
    entryPoints: [entry],
    outfile: `dist/${name}`,
    bundle: true,
    write: false,
    target: "es2022",
    charset: "utf8",
    format: "esm",
    sourcemap: "linked",
    ...others,
    banner: { js: `${BANNER}\n${banner}` },
  };
}

/** Return a script, and its map if it has one. */
async function bundle(script) {
  const { name, options, finish = (text) => text } = script;
  const { outputFiles } = await build({ ...settle(script), minifySyntax: true, minifyIdentifiers: true });
  const [text, content] = ["", ".map"].map((end) => outputFiles.find(({ path }) => path.endsWith(name + end))?.text);
  const sourceMap = options.sourcemap === false ? false : { content, includeSources: true, url: `${name}.map` };
  // esbuild makes short names for private members, terser makes shorter code.
  const isModule = name !== CLASSIC.name;
  const format = { comments: FOR_OTHERS };
  const { code, map } = await minify(finish(text), { module: isModule, ecma: 2020, compress: { passes: 2 }, format, sourceMap });
  return map ? [[`${name}.map`, shortenPaths(map)], [name, code]] : [[name, code]];
}

/** Return a map whose module names contain no paths of this machine. */
function shortenPaths(text) {
  const map = JSON.parse(text);
  const sources = map.sources.map((source) => source.slice(Math.max(source.lastIndexOf("src/"), 0)));
  return `${JSON.stringify({ ...map, sources })}\n`;
}

/** List the client and the parts that it loads. */
async function listClient() {
  const modules = await listModules(ROOT, CLIENT);
  const parts = await findParts(modules);
  const sharedOf = new Map();
  for (const [name, entry] of parts) sharedOf.set(name, await findShared(ROOT, entry, modules));
  const plugins = [loadFromFiles(ROOT, sharedOf, nameFile)];
  const client = { name: "session-client.js", entry: CLIENT, options: { plugins } };
  return [client, ...[...parts].map(([name, entry]) => describePart(name, entry, sharedOf.get(name)))];
}

function describePart(name, entry, shared) {
  const { before, after } = AROUND_PART;
  const options = { banner: before, footer: { js: after }, plugins: [takeFromClient(shared)] };
  return { name: nameFile(name), entry, options, finish: returnExports };
}

/** The whole client in one script, for pages without modules. It has no map: use the modules for debugging. */
const CLASSIC = {
  name: "session-client.classic.js",
  entry: CLIENT,
  options: { format: "iife", globalName: "SessionMgmt", sourcemap: false },
};

/** Let an entry import another entry from its file. */
function leaveEntries(name) {
  const others = new RegExp(`^\\./(${ENTRIES.filter((other) => other !== name).join("|")})$`);
  const setup = (b) =>
    b.onResolve({ filter: others }, ({ path, importer }) =>
      importer.endsWith(`src/${name}.ts`) ? { path: `./session-client.${path.slice(2)}.js`, external: true } : undefined,
    );
  return { name: "leave entries", setup };
}

/** List all scripts: name, entry and settings of each. */
async function listScripts() {
  const entries = ENTRIES.map((name) => ({
    name: `session-client.${name}.js`,
    entry: `src/${name}.ts`,
    options: { external: ["react"], plugins: [leaveEntries(name)] },
  }));
  return [...(await listClient()), CLASSIC, ...entries];
}

/** Return the text of each file by its name. */
export async function buildFiles() {
  const files = new Map();
  for (const script of await listScripts()) for (const [name, text] of await bundle(script)) files.set(name, text);
  for (const part of PART_ENTRIES) files.set(nameFile(part).replace(/js$/, "d.ts"), `${BANNER}\n${PART_TYPINGS}`);
  for (const [name, text] of writeTypings(ROOT, ENTRIES)) files.set(name, `${BANNER}\n${text}`);
  return files;
}

/** Return the scripts with a comment before each module that names it. */
export async function buildApart() {
  const apart = { minifyWhitespace: false, minifyIdentifiers: true, minifySyntax: true, minify: false, sourcemap: false };
  const scripts = (await listScripts()).filter(({ name }) => name !== CLASSIC.name);
  return Promise.all(
    scripts.map(async (script) => {
      const { outputFiles } = await build({ ...settle(script), ...apart });
      return [script.name, outputFiles[0].text];
    }),
  );
}
