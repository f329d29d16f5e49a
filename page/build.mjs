// Builds the page into functions/page/files: one script and one style sheet, named by a hash of
// their content, and the document that names them.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { writeWords } from "./words.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "..", "functions", "page", "files");

writeWords();
const built = await build({
  entryPoints: { page: join(here, "main.tsx") },
  outdir: target,
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
});

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
let document = readFileSync(join(here, "index.html"), "utf8");
for (const file of built.outputFiles) {
  const ending = file.path.endsWith(".css") ? "css" : "js";
  const name = `page-${createHash("sha256").update(file.contents).digest("hex").slice(0, 16)}.${ending}`;
  writeFileSync(join(target, name), file.contents);
  document = document.replace(`page.${ending}`, name);
}
const icon = readFileSync(join(here, "icon.svg"));
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 16)}.svg`;
writeFileSync(join(target, iconName), icon);
writeFileSync(join(target, "index.html"), document.replace("icon.svg", iconName));
