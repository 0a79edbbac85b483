// Writes the bundles and the typings that the Django app serves; with --check, compares them with what is committed.
// The same sources give the same bytes: no time, no path, no version of the machine goes into them.

import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { generateDtsBundle } from "dts-bundle-generator";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = fileURLToPath(new URL("../../static/session_mgmt/", import.meta.url));
const banner = "/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */";

async function bundle(entry, options) {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [`src/${entry}.ts`],
    bundle: true,
    write: false,
    target: "es2022",
    charset: "utf8",
    minify: true,
    banner: { js: banner },
    ...options,
  });
  return outputFiles[0].text;
}

function typings(entry) {
  process.chdir(root);
  const [text] = generateDtsBundle([{ filePath: `src/${entry}.ts`, output: { noBanner: true } }], {
    preferredConfigPath: "tsconfig.json",
  });
  return `${banner}\n${text}`;
}

const files = {
  "session-client.js": await bundle("index", { format: "esm" }),
  "session-client.classic.js": await bundle("index", { format: "iife", globalName: "SessionMgmt" }),
  "session-client.d.ts": typings("index"),
  "session-client.testing.js": await bundle("testing", { format: "esm" }),
  "session-client.testing.d.ts": typings("testing"),
};

let stale = 0;
for (const [name, text] of Object.entries(files)) {
  if (process.argv.includes("--check")) {
    const committed = await readFile(target + name, "utf8").catch(() => "");
    if (committed === text) continue;
    console.error(`${name} is not what the sources give; run: npm run build`);
    stale += 1;
  } else {
    await writeFile(target + name, text);
    console.log(`${name} ${Buffer.byteLength(text)} bytes`);
  }
}
process.exitCode = stale ? 1 : 0;
