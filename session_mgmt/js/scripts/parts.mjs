// Parts of the client that it loads when it needs them: every `import("./name")` of its source becomes a file of its own.
//
// A part shares modules with the client, and must not bring second ones: an error of another SessionError class would
// be nobody's. It cannot import them from the client's file either, because a static file storage serves that under a
// name of its own choice, and the same file under two names is two modules. So a part is a function, to which the client
// gives the modules that it shares. The name of its file has the version, as nothing rewrites the name in `import()`.

import { readFile } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import { build } from "esbuild";
import ts from "typescript";

const LOADED = /\bimport\("(\.[^"]+)"\)/g;
const SHARED = "shared:";
/** Module of the client that imports a file anew: only what is built has files of parts. */
const AGAIN = "src/again.ts";

/** Return the paths of the modules that a bundle of `entry` has, without those that it loads later. */
export async function listModules(root, entry) {
  const later = (b) => b.onResolve({ filter: /^\./ }, leaveDynamic);
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    plugins: [{ name: "later", setup: later }],
  });
  return Object.keys(metafile.inputs).map((path) => resolve(root, path));
}

function leaveDynamic({ kind, path }) {
  return kind === "dynamic-import" ? { path, external: true } : undefined;
}

/** Return the parts that some modules load: the path of each by its name. */
export async function findParts(modules) {
  const parts = new Map();
  for (const module of modules) {
    const text = await readFile(module, "utf8");
    for (const [, request] of text.matchAll(LOADED)) parts.set(nameOf(request), resolveModule(module, request));
  }
  return parts;
}

function nameOf(request) {
  return request.replace(/\/index$/, "").split("/").at(-1);
}

function resolveModule(from, request) {
  const path = resolve(dirname(from), request);
  return [`${path}.ts`, `${path}.tsx`, `${path}/index.ts`].find((file) => ts.sys.fileExists(file));
}

/** Return what a part takes from the client: the names of values by the path of their module. */
export async function findShared(root, entry, clientModules) {
  const ours = new Set(clientModules);
  const shared = new Map();
  for (const module of await listModules(root, entry)) {
    if (ours.has(module)) continue;
    for (const [request, names, isWhole] of readImports(module, await readFile(module, "utf8"))) {
      const path = request.startsWith(".") && resolveModule(module, request);
      // A part is given values by their names.
      if (isWhole && ours.has(path)) throw new Error(`${module}: name what is imported from ${request}.`);
      if (ours.has(path)) shared.set(path, new Set([...(shared.get(path) ?? []), ...names]));
    }
  }
  return shared;
}

/** Return what a module imports: each request, the names of values, and whether it is the whole module. */
function readImports(path, text) {
  const { statements } = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
  return statements.filter(ts.isImportDeclaration).map(({ moduleSpecifier, importClause }) => {
    const elements = importClause?.namedBindings?.elements ?? [];
    const isWhole = importClause?.namedBindings && ts.isNamespaceImport(importClause.namedBindings);
    const values = importClause?.isTypeOnly ? [] : elements.filter(({ isTypeOnly }) => !isTypeOnly);
    return [moduleSpecifier.text, values.map(({ name, propertyName }) => (propertyName ?? name).text), isWhole];
  });
}

/** Let the client load its parts from files, and give each what all of them share with it. */
export function loadFromFiles(root, sharedOf, nameFile) {
  const setup = (b) => {
    b.onLoad({ filter: /[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const body = text.replace(LOADED, (_, request) => `takePart(import("./${nameFile(nameOf(request))}"))`);
      return { contents: body === text ? text : `${body}import { takePart } from "${SHARED}";\n`, loader: "ts" };
    });
    b.onResolve({ filter: /^\./ }, leaveDynamic);
    b.onResolve({ filter: new RegExp(`^${SHARED}`) }, ({ path }) => ({ path, namespace: SHARED }));
    b.onLoad({ filter: /.*/, namespace: SHARED }, () => ({ contents: writeSharing(root, sharedOf), resolveDir: root }));
  };
  return { name: "load from files", setup };
}

/** Return the module that makes parts: one object of what they share costs less than one for each. */
function writeSharing(root, sharedOf) {
  const shared = new Map();
  for (const [module, names] of [...sharedOf.values()].flatMap((of) => [...of])) {
    shared.set(module, new Set([...(shared.get(module) ?? []), ...names]));
  }
  const imports = [...shared].map(([module, names]) => `import { ${[...names].join(", ")} } from "./${relative(root, module)}";`);
  const all = [...shared.values()].flatMap((names) => [...names]);
  return `${imports.join("\n")}
import { importAgain } from "./${AGAIN}";
export const takePart = (file) => file.catch(importAgain).then((part) => part.default({ ${all.join(", ")} }));
`;
}

/** Let a part take the client's modules from the argument of its function. */
export function takeFromClient(shared) {
  const setup = (b) => {
    b.onResolve({ filter: /^\./ }, ({ path, importer, kind }) => {
      if (kind === "dynamic-import") throw new Error(`${importer}: a part loads no part.`);
      const file = importer && resolveModule(importer, path);
      return shared.has(file) ? { path: file, namespace: SHARED, sideEffects: false } : undefined;
    });
    b.onLoad({ filter: /.*/, namespace: SHARED }, ({ path }) => ({
      contents: [...shared.get(path)].map((name) => `export const ${name} = shared.${name};\n`).join(""),
    }));
  };
  return { name: "take from the client", setup };
}

/** Text around a part's own code, whose names are in `part`. One page makes each part once. */
export const AROUND_PART = {
  globalName: "part",
  before: "let made;export default(shared)=>made??=(()=>{",
  after: "return part})();",
};
