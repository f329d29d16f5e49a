// Runs the unit tests beside the page's files: *.test.ts, bundled for Node's own runner.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const tests = readdirSync(here, { recursive: true })
  .filter((name) => name.endsWith(".test.ts") && !name.includes("node_modules"))
  .map((name) => join(here, name));
const target = mkdtempSync(join(tmpdir(), "gatehouse-page-"));
try {
  await build({
    entryPoints: tests,
    outdir: target,
    bundle: true,
    format: "esm",
    platform: "node",
    outExtension: { ".js": ".test.mjs" },
    entryNames: "[dir]-[name]",
    logLevel: "warning",
  });
  const files = readdirSync(target, { recursive: true })
    .filter((name) => name.endsWith(".test.mjs"))
    .map((name) => join(target, name));
  const { status } = spawnSync(process.execPath, ["--test", "--test-reporter=dot", ...files], {
    stdio: "inherit",
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(target, { recursive: true, force: true });
}
