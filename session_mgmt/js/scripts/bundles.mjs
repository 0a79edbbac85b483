// Text of every file that the package consists of, by name. The same sources give the same bytes: no time, no path and
// no version of the machine goes into them.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { AROUND_PART, findParts, findShared, listModules, loadFromFiles, takeFromClient } from "./parts.mjs";
import { writeTypings } from "./typings.mjs";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));
export const { version: VERSION } = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));
const BANNER = `/*! session_mgmt browser client ${VERSION}, BSD-3-Clause. Built from session_mgmt/js; do not edit. */`;

const CLIENT = "src/index.ts";
/** Further entries of the package: each is a file of its own, which takes no more than types from the client. */
const ENTRIES = ["testing", "react"];

function nameFile(part) {
  return `session-client.${part}-${VERSION}.js`;
}

/** Return a script, and its map where one is wanted. */
async function bundle(name, entry, options) {
  const { banner = "", ...others } = options;
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    outfile: `dist/${name}`,
    bundle: true,
    write: false,
    target: "es2022",
    charset: "utf8",
    minify: true,
    format: "esm",
    sourcemap: "linked",
    ...others,
    banner: { js: `${BANNER}\n${banner}` },
  });
  return outputFiles.map(({ path, text }) => (path.endsWith(".map") ? [`${name}.map`, shortenPaths(text)] : [name, text]));
}

/** Return a map in which no module is named by its place on this machine. */
function shortenPaths(text) {
  const map = JSON.parse(text);
  const sources = map.sources.map((source) => source.slice(Math.max(source.lastIndexOf("src/"), 0)));
  return `${JSON.stringify({ ...map, sources })}\n`;
}

async function bundleClient() {
  const modules = await listModules(ROOT, CLIENT);
  const parts = await findParts(modules);
  const sharedOf = new Map();
  for (const [name, entry] of parts) sharedOf.set(name, await findShared(ROOT, entry, modules));
  const plugins = [loadFromFiles(ROOT, sharedOf, nameFile)];
  const files = await bundle("session-client.js", CLIENT, { plugins });
  for (const [name, entry] of parts) files.push(...(await bundlePart(name, entry, sharedOf.get(name))));
  return files;
}

function bundlePart(name, entry, shared) {
  const { globalName, before, after } = AROUND_PART;
  const around = { globalName, banner: before, footer: { js: after } };
  return bundle(nameFile(name), entry, { format: "iife", ...around, plugins: [takeFromClient(shared)] });
}

/** Write everything into one script, for pages without modules. It has no map: who debugs takes the module. */
function bundleClassic() {
  const options = { format: "iife", globalName: "SessionMgmt", sourcemap: false };
  return bundle("session-client.classic.js", CLIENT, options);
}

/** Return the text of each file by its name. */
export async function buildFiles() {
  const files = [...(await bundleClient()), ...(await bundleClassic())];
  for (const name of ENTRIES) files.push(...(await bundle(`session-client.${name}.js`, `src/${name}.ts`, { external: ["react"] })));
  for (const [name, text] of writeTypings(ROOT, ENTRIES)) files.push([name, `${BANNER}\n${text}`]);
  return new Map(files);
}
