// Empty TypeScript project that installs the package: the types must be found under the settings that read `exports`,
// and a bundler must find every file that the client loads on demand.

import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import ts from "typescript";

const PROGRAM = "tests/project/main.ts";
/** Folders with pages whose examples must compile, and the names that these examples take from their page. */
const FOLDERS = [".", "../..", "../../docs", "../../docs/howto", "../../docs/reference", "../../docs/topics"];
const SURROUNDINGS = "tests/project/page.d.ts";
const EXAMPLE = /^```(tsx?|js)\n([^]*?)^```$/gm;
/** URL from which pages without a bundler import what a project imports by the name of the package. */
const SERVED = /"\/static\/session_mgmt\/session-client(?:\.(\w+))?\.js"/g;
/** Parts that the program names at its start. */
const NAMED_PARTS = ["session-client.content-", "session-client.http-", "session-client.copies-", "session-client.tabs-"];
const SETTINGS = {
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
};

/** Return the faults of a project that installs the package from a tarball. */
export async function tryPackage(root, tarball) {
  const folder = await mkdtemp(join(tmpdir(), "project-"));
  try {
    await installPackage(root, folder, tarball);
    const program = join(folder, "main.ts");
    await writeFile(program, await readFile(join(root, PROGRAM)));
    // One program for all: a second one would read all declarations again.
    const paths = { bundler: [program, ...(await writeExamples(root, folder))], node16: [program] };
    const wrong = Object.entries(SETTINGS).flatMap(([name, options]) => compile(name, paths[name], options));
    return [...wrong, ...(await bundle(folder, program))];
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function installPackage(root, folder, tarball) {
  const home = join(folder, "node_modules/session-mgmt-client");
  await mkdir(home, { recursive: true });
  await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module", private: true }));
  execFileSync("tar", ["-xzf", tarball, "--strip-components=1", "-C", home]);
  // Packages that a project installs by itself.
  for (const name of ["react", "react-dom", "@types"]) {
    await symlink(join(root, "node_modules", name), join(folder, "node_modules", name));
  }
}

/**
 * Write each example as a module; return the paths. An example that extends the types of the package belongs to the
 * program.
 */
async function writeExamples(root, folder) {
  const surroundings = join(folder, "page.d.ts");
  await writeFile(surroundings, await readFile(join(root, SURROUNDINGS)));
  const paths = [surroundings];
  for (const page of await listPages(root)) {
    for (const [, language, text] of (await readFile(page, "utf8")).matchAll(EXAMPLE)) {
      if (text.includes("declare module")) continue;
      // JavaScript is compiled as TypeScript, which contains it.
      const [, name] = /^\/\/ (\w+)\.ts$/m.exec(text) ?? [];
      paths.push(join(folder, `${name ?? `example-${paths.length}`}.${language.replace("js", "ts")}`));
      await writeFile(paths.at(-1), `${text.replace(SERVED, nameEntry)}\nexport {};\n`);
    }
  }
  return paths;
}

async function listPages(root) {
  const found = await Promise.all(FOLDERS.map(async (name) => (await readdir(join(root, name))).map((page) => join(root, name, page))));
  return found.flat().filter((path) => path.endsWith(".md"));
}

function nameEntry(_, part) {
  return JSON.stringify(`session-mgmt-client${part ? `/${part}` : ""}`);
}

function compile(name, paths, options) {
  const lib = ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"];
  // In the examples a caught error is a SessionError, as their page says.
  const loose = { useUnknownInCatchVariables: false, jsx: ts.JsxEmit.ReactJSX };
  const all = { ...options, ...loose, target: ts.ScriptTarget.ES2022, lib, strict: true, noEmit: true, types: [] };
  const found = ts.getPreEmitDiagnostics(ts.createProgram(paths, all));
  const place = ({ file, start }) => file?.text.slice(0, start).split("\n").at(-1) ?? "";
  return found.map((each) => `types, ${name}: ${ts.flattenDiagnosticMessageText(each.messageText, "\n")} after ${place(each)}`);
}

async function bundle(folder, program) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: folder,
    entryPoints: [program],
    outdir: folder,
    bundle: true,
    splitting: true,
    metafile: true,
    write: false,
    format: "esm",
    logLevel: "silent",
  });
  const imports = Object.values(metafile.outputs).flatMap(({ imports }) => imports);
  const outside = imports.filter(({ external }) => external).map(({ path }) => `a bundler does not find ${path}`);
  const later = imports.filter(({ kind }) => kind === "dynamic-import");
  const lacks = later.length === 0 || outputFiles.length < 2 ? ["a bundler makes no file of what is loaded later"] : [];
  return [...outside, ...lacks, ...findLate(metafile)];
}

/** Return the faults if a part that the program names is loaded late, or is there twice. */
function findLate({ outputs }) {
  const [main] = Object.keys(outputs).filter((path) => outputs[path].entryPoint?.endsWith("main.ts"));
  const there = new Set([main]);
  for (const path of there) {
    for (const { path: next, kind } of outputs[path].imports) if (kind === "import-statement") there.add(next);
  }
  return NAMED_PARTS.flatMap((part) => {
    const has = ([, { inputs }]) => Object.entries(inputs).some(([input, { bytesInOutput }]) => bytesInOutput > 0 && input.includes(part));
    const places = Object.entries(outputs).filter(has).map(([path]) => path);
    return places.length === 1 && there.has(places[0]) ? [] : [`a bundler loads ${part} later, or twice: ${places}`];
  });
}
